//! Starting a child with nothing but what it is given.
//!
//! `std::process::Command` is not used: it can neither place descriptors at fixed numbers safely
//! (its own error pipe may sit there) nor give a pidfd on stable Rust. What happens between `fork`
//! and `execve` is a short list of system calls on data prepared before.

#[cfg(test)]
mod tests;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use std::ffi::{CString, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Number of the first descriptor a child is given.
pub(super) const FIRST_FD: i32 = 3;
/// Tells the child how many it was given.
pub(super) const FDS_VARIABLE: &str = "PROSCENIUM_FDS";

/// What to start.
#[derive(Debug)]
pub struct Spawn {
    /// The program.
    pub exe: PathBuf,
    /// Its name, by which `ps` shows it, and its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment: nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Its descriptors, from number 3 on; all others are closed. Standard input is empty, standard
    /// output and error are this process's standard error.
    pub fds: Vec<OwnedFd>,
}

/// Why a child did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A text with a zero byte inside.
    #[error("argument or environment of the child holds a zero byte")]
    ZeroByte,
    /// The kernel refused one of the steps.
    #[error("starting {exe}: {step}: {source}")]
    System {
        /// What was to be started.
        exe: String,
        /// The step.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Somebody else reaped it.
    Unknown,
}

impl Exit {
    /// Whether it ended by itself and was content.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            Self::Unknown => f.write_str("exit status unknown"),
        }
    }
}

/// A running child. Dropping it kills it. Its descriptor (a pidfd) becomes readable when it ends.
#[derive(Debug)]
pub struct Child {
    pidfd: OwnedFd,
    pid: u32,
    exit: Option<Exit>,
}

impl Child {
    /// Its process id, for people; signals go through the pidfd, which cannot hit another process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it, if it still runs. It is gone once [`Self::try_wait`] says so.
    pub fn kill(&self) {
        if self.exit.is_none() {
            send_kill(self.pidfd.as_fd());
        }
    }

    /// How it ended; `None` while it runs.
    pub fn try_wait(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = reap(self.pidfd.as_fd(), false);
        }
        self.exit
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl AsRawFd for Child {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.try_wait().is_none() {
            self.kill();
            // Whoever drops it may be an async task: the waiting is done elsewhere.
            if let (Ok(fd), Some(spawner)) = (self.pidfd.try_clone(), spawner()) {
                let _ = spawner.send(Job::Reap(fd));
            }
        }
    }
}

fn send_kill(pidfd: BorrowedFd<'_>) {
    // SAFETY: a system call on a descriptor that is borrowed for its time; no memory is passed.
    // It can only fail because the process is gone, which is what is wanted.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<()>(),
            0,
        );
    }
}

fn reap(pidfd: BorrowedFd<'_>, wait: bool) -> Option<Exit> {
    let flags =
        if wait { WaitPidFlag::WEXITED } else { WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG };
    loop {
        return match waitid(Id::PIDFd(pidfd), flags) {
            Ok(WaitStatus::Exited(_, code)) => Some(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signal(signal as i32)),
            Ok(_) => None,
            Err(Errno::EINTR) => continue,
            Err(_) => Some(Exit::Unknown),
        };
    }
}

enum Job {
    Spawn(Box<Spawn>, Sender<Result<Child, SpawnError>>),
    Reap(OwnedFd),
}

/// The thread that starts all children. "Die with the parent" (PR_SET_PDEATHSIG) means the parent
/// *thread*: a child started on a thread of a pool would be killed when the pool shrinks. This one
/// lives as long as the process.
fn spawner() -> Option<&'static Sender<Job>> {
    static SPAWNER: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    let start = || {
        let (jobs, queue) = channel();
        std::thread::Builder::new().name("spawner".into()).spawn(move || work(&queue)).ok()?;
        Some(jobs)
    };
    SPAWNER.get_or_init(start).as_ref()
}

fn work(queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        match job {
            Job::Spawn(what, reply) => {
                let _ = reply.send(start(*what));
            }
            Job::Reap(pidfd) => {
                // Killed, so it ends at once, unless a driver holds it; then it stays a zombie and
                // the next child is not kept waiting for it.
                let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
                if poll(&mut fds, PollTimeout::from(2000_u16)).is_ok_and(|n| n > 0) {
                    reap(pidfd.as_fd(), false);
                } else {
                    tracing::warn!("a killed child does not end");
                }
            }
        }
    }
}

/// Starts a child. Blocks for the milliseconds that takes.
///
/// # Errors
/// [`SpawnError`] names the step that failed, also where that was in the child, up to `execve`.
pub fn spawn(what: Spawn) -> Result<Child, SpawnError> {
    let exe = what.exe.display().to_string();
    let lost = || SpawnError::System {
        exe,
        step: "start a thread",
        source: io::ErrorKind::OutOfMemory.into(),
    };
    let (reply, result) = channel();
    let sent = spawner().is_some_and(|jobs| jobs.send(Job::Spawn(Box::new(what), reply)).is_ok());
    match result.recv() {
        Ok(result) if sent => result,
        _ => Err(lost()),
    }
}

/// Everything the child touches between fork and exec, made before: it must not allocate.
struct Prepared {
    exe: CString,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    /// At numbers far from those they are to have.
    fds: Vec<OwnedFd>,
    null: OwnedFd,
    errors: OwnedFd,
    parent: libc::pid_t,
    _texts: Vec<CString>,
}

fn start(what: Spawn) -> Result<Child, SpawnError> {
    let exe = what.exe.display().to_string();
    let failed = |step| {
        let exe = exe.clone();
        move |source: io::Error| SpawnError::System { exe, step, source }
    };
    let text = |t: OsString| CString::new(t.into_vec()).map_err(|_| SpawnError::ZeroByte);
    // The pipe that says why exec failed; closed by a successful one.
    let (report, errors) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| failed("pipe")(e.into()))?;
    let null = std::fs::File::open("/dev/null").map_err(failed("open /dev/null"))?;
    let path = text(what.exe.into_os_string())?;
    let mut texts = Vec::new();
    for arg in what.args {
        texts.push(text(arg)?);
    }
    let args = texts.len();
    for (mut name, value) in what.env {
        name.push("=");
        name.push(value);
        texts.push(text(name)?);
    }
    texts.push(text(format!("{FDS_VARIABLE}={}", what.fds.len()).into())?);
    let pointers = |list: &[CString]| {
        let mut all: Vec<_> = list.iter().map(|t| t.as_ptr()).collect();
        all.push(std::ptr::null());
        all
    };
    let away = |fd: OwnedFd| far(&fd).map_err(failed("duplicate a descriptor"));
    let prepared = Prepared {
        exe: path,
        argv: pointers(&texts[..args]),
        envp: pointers(&texts[args..]),
        fds: what.fds.into_iter().map(away).collect::<Result<_, _>>()?,
        null: away(null.into())?,
        errors: away(errors)?,
        parent: nix::unistd::getpid().as_raw(),
        _texts: texts,
    };
    // SAFETY: this process has many threads, so the child may only make async-signal-safe calls
    // until exec: `in_child` makes system calls on memory prepared above, and never returns.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => in_child(&prepared),
        -1 => return Err(failed("fork")(io::Error::last_os_error())),
        _ => {}
    }
    drop(prepared);
    // SAFETY: a system call without memory. The child cannot have been reaped: only this thread
    // knows its pid, so the pid is still its.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if pidfd < 0 {
        let error = io::Error::last_os_error();
        // SAFETY: as above: the pid is still that of the unreaped child.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
        return Err(failed("pidfd_open (needs Linux 5.4)")(error));
    }
    // SAFETY: the kernel has just made this descriptor and nobody else knows its number.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as RawFd) };
    let child = Child { pidfd, pid: pid.unsigned_abs(), exit: None };
    // Ends when exec closes the pipe, or the child dies.
    let mut said = Vec::new();
    let read = std::fs::File::from(report).read_to_end(&mut said);
    match (read, said.first_chunk::<8>()) {
        (Ok(_), None) => Ok(child),
        (Ok(_), Some(&[s0, s1, s2, s3, e0, e1, e2, e3])) => {
            reap(child.as_fd(), true);
            let step = STEPS
                .get(u32::from_ne_bytes([s0, s1, s2, s3]) as usize)
                .copied()
                .unwrap_or("set-up");
            Err(failed(step)(io::Error::from_raw_os_error(i32::from_ne_bytes([e0, e1, e2, e3]))))
        }
        (Err(error), _) => Err(failed("read the child's report")(error)),
    }
}

/// A copy of `fd` at number 64 or above, closed on exec.
fn far(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let number = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(64))?;
    // SAFETY: the kernel has just made this descriptor and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The steps in the child that may fail, as the parent names them.
const STEPS: [&str; 7] = [
    "set the death signal",
    "give up new privileges",
    "forbid core dumps",
    "place descriptors",
    "close the other descriptors (needs Linux 5.11)",
    "reset signals",
    "execute it",
];

/// From fork to exec, in the child.
fn in_child(p: &Prepared) -> ! {
    let step = set_up(p);
    let errno = Errno::last_raw();
    let mut report = [0; 8];
    let (a, b) = report.split_at_mut(4);
    a.copy_from_slice(&step.to_ne_bytes());
    b.copy_from_slice(&errno.to_ne_bytes());
    // SAFETY: writes 8 bytes of a local array, then ends this process without running anything else.
    unsafe {
        libc::write(p.errors.as_raw_fd(), report.as_ptr().cast(), report.len());
        libc::_exit(127)
    }
}

/// Makes the process what it is to be and executes the program. Returns only on failure: the number
/// of the step, with errno set.
fn set_up(p: &Prepared) -> u32 {
    // SAFETY: system calls only; every pointer is to memory in `p`, which outlives exec, or to a
    // local; `argv` and `envp` end in a null pointer and their texts are kept in `p`.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return 0;
        }
        // The parent may have died before that took effect.
        if libc::getppid() != p.parent {
            libc::_exit(0);
        }
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return 1;
        }
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::setrlimit(libc::RLIMIT_CORE, &none) != 0 {
            return 2;
        }
        // Ctrl-C at the terminal is for the daemon, which then ends its children in good order.
        libc::setpgid(0, 0);
        libc::umask(0o077);
        // When memory runs out, the kernel shall take this process and leave the daemon and its
        // viewers alone. Raising the score needs no rights; where it fails nothing is lost.
        let score =
            libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if score >= 0 {
            libc::write(score, c"500".as_ptr().cast(), 3);
        }
        if libc::dup2(p.null.as_raw_fd(), 0) < 0 || libc::dup2(2, 1) < 0 {
            return 3;
        }
        let mut number = FIRST_FD;
        for fd in &p.fds {
            // dup2 clears close-on-exec; the sources lie at 64 and above.
            if libc::dup2(fd.as_raw_fd(), number) < 0 {
                return 3;
            }
            number += 1;
        }
        // Marked rather than closed: the error pipe is among them.
        let first = number as libc::c_uint;
        if libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
            != 0
        {
            return 4;
        }
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) != 0
            || libc::signal(libc::SIGPIPE, libc::SIG_DFL) == libc::SIG_ERR
        {
            return 5;
        }
        libc::execve(p.exe.as_ptr(), p.argv.as_ptr(), p.envp.as_ptr());
        6
    }
}
