//! Real children: this test program itself, started to look at what it was given.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::process::{Received, SeqPacket, inherited, wait};
use std::io::Seek;
use std::time::Duration;

fn child(test: &str, fds: Vec<OwnedFd>) -> Spawn {
    let test = format!("process::spawn::tests::{test}");
    let args = ["a child", &test, "--exact", "--ignored", "--nocapture", "--quiet"];
    Spawn {
        exe: std::env::current_exe().unwrap(),
        args: args.iter().map(Into::into).collect(),
        env: vec![("GIVEN".into(), "yes".into())],
        fds,
    }
}

fn ended(child: &mut Child) -> Exit {
    assert_eq!(wait([(child.as_fd(), false)], Duration::from_secs(30)).unwrap(), [true], "it ends");
    child.try_wait().unwrap()
}

/// What the child reports, as lines.
fn report(test: &str, extra: Option<OwnedFd>) -> Vec<String> {
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let fds = std::iter::once(theirs).chain(extra).collect();
    let mut child = spawn(child(test, fds)).unwrap();
    let mut buffer = vec![0; 16384];
    assert_eq!(wait([(ours.as_fd(), false)], Duration::from_secs(30)).unwrap(), [true]);
    let Ok(Received::Message { len, fd: None }) = ours.recv(&mut buffer) else {
        panic!("the child reports")
    };
    assert_eq!(ended(&mut child), Exit::Code(0));
    String::from_utf8_lossy(&buffer[..len]).lines().map(str::to_owned).collect()
}

#[test]
fn a_child_has_what_it_is_given_and_nothing_else() {
    // Descriptors that a careless exec would hand down: not closed on exec.
    let leaky = tempfile::tempfile().unwrap();
    let number = nix::fcntl::fcntl(&leaky, nix::fcntl::FcntlArg::F_DUPFD(200)).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, b"from the parent").unwrap();
    file.rewind().unwrap();
    let lines = report("look", Some(file.into()));
    // SAFETY: made above by F_DUPFD and known to nobody else.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    let said = |key: &str| {
        let line = lines.iter().find_map(|l| l.strip_prefix(key).and_then(|l| l.strip_prefix('=')));
        line.unwrap_or_else(|| panic!("no {key} in {lines:?}")).to_owned()
    };
    assert_eq!(said("taken"), "2");
    assert_eq!(said("again"), "inherited descriptors were taken already");
    assert_eq!(said("file"), "from the parent");
    assert_eq!(said("fds"), "0 1 2 3 4", "{lines:?}");
    assert_eq!(said("environment"), "GIVEN PROSCENIUM_FDS");
    assert_eq!(said("core"), "0 0");
    assert_eq!(said("privileges"), "1");
    assert_eq!(said("group"), "own");
    assert_eq!(said("blocked"), "0000000000000000");
    assert_eq!(said("oom"), "500");
    assert_eq!(said("stdin"), "0");
    assert_eq!(said("name"), "a child");
}

#[test]
#[ignore = "a child process of the tests above"]
fn look() {
    // Before anything here opens another: /proc/self/fd as it was handed down, but for the folder's own.
    let folder = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut fds: Vec<i32> =
        folder.map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    fds.sort_unstable();
    // The highest is the folder's; pipes that the test harness made for itself are closed on exec.
    fds.pop();
    fds.retain(|&fd| fd <= 4 || flags(fd) == 0);
    let [socket, file]: [OwnedFd; 2] = inherited().unwrap().try_into().unwrap();
    let again = inherited().unwrap_err();
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).unwrap();
    // This thread's: starting a thread blocks signals in the other one for a moment.
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let of =
        |key: &str| status.lines().find_map(|l| l.strip_prefix(key)).unwrap().trim().to_owned();
    let (soft, hard) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_CORE).unwrap();
    let mut environment: Vec<_> = std::env::vars().map(|(key, _)| key).collect();
    environment.sort();
    let own = nix::unistd::getpgrp() == nix::unistd::getpid();
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input).unwrap();
    let lines = [
        "taken=2".into(),
        format!("again={again}"),
        format!("file={text}"),
        format!("fds={}", fds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        format!("environment={}", environment.join(" ")),
        format!("core={soft} {hard}"),
        format!("privileges={}", of("NoNewPrivs:")),
        format!("group={}", if own { "own" } else { "parent's" }),
        format!("blocked={}", of("SigBlk:")),
        format!("oom={}", std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim()),
        format!("stdin={}", input.len()),
        format!("name={}", std::env::args().next().unwrap()),
    ];
    SeqPacket::from_fd(socket).unwrap().send(lines.join("\n").as_bytes(), None).unwrap();
    std::process::exit(0);
}

fn flags(fd: i32) -> i32 {
    // SAFETY: borrowed for this call only, which fails if it is not open.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).unwrap_or(1)
}

#[test]
fn a_child_survives_the_thread_that_asked_for_it_and_dies_by_its_handle() {
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    // "Die with the parent" means the parent's thread: it must not be this one.
    let started =
        std::thread::spawn(move || spawn(child("stay", vec![theirs])).unwrap()).join().unwrap();
    let mut buffer = [0; 16];
    assert_eq!(wait([(ours.as_fd(), false)], Duration::from_secs(30)).unwrap(), [true]);
    assert!(matches!(ours.recv(&mut buffer), Ok(Received::Message { len: 5, .. })));
    assert_eq!(
        wait([(started.as_fd(), false)], Duration::from_millis(50)).unwrap(),
        [false],
        "it lives"
    );
    let pid = started.pid();
    drop(started);
    // Its end of the socket closes with it.
    assert_eq!(wait([(ours.as_fd(), false)], Duration::from_secs(30)).unwrap(), [true]);
    assert!(matches!(ours.recv(&mut buffer), Ok(Received::Closed)), "{pid}");
}

/// A daemon that is killed takes its transcoders with it.
#[test]
fn a_child_dies_with_its_parent() {
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let mut parent = spawn(child("parent", vec![theirs])).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(wait([(ours.as_fd(), false)], Duration::from_secs(30)).unwrap(), [true]);
    assert!(
        matches!(ours.recv(&mut buffer), Ok(Received::Message { len: 5, .. })),
        "the grandchild stays"
    );
    parent.kill();
    assert_eq!(ended(&mut parent), Exit::Signal(libc::SIGKILL));
    assert_eq!(wait([(ours.as_fd(), false)], Duration::from_secs(30)).unwrap(), [true]);
    assert!(matches!(ours.recv(&mut buffer), Ok(Received::Closed)), "the grandchild is gone, too");
}

#[test]
#[ignore = "a child process of the tests above"]
fn stay() {
    let [socket]: [OwnedFd; 1] = inherited().unwrap().try_into().unwrap();
    SeqPacket::from_fd(socket).unwrap().send(b"ready", None).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
#[ignore = "a child process of the tests above"]
fn parent() {
    let fds = inherited().unwrap();
    let _grandchild = spawn(child("stay", fds)).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn what_cannot_be_started_is_said_in_words() {
    let what =
        |exe: &str| Spawn { exe: exe.into(), args: vec!["x".into()], env: vec![], fds: vec![] };
    let error = spawn(what("/nowhere/at/all")).unwrap_err().to_string();
    assert_eq!(
        error,
        "starting /nowhere/at/all: execute it: No such file or directory (os error 2)"
    );
    let error = spawn(what("/etc/passwd")).unwrap_err().to_string();
    assert_eq!(error, "starting /etc/passwd: execute it: Permission denied (os error 13)");
    assert!(matches!(spawn(what("/bin/\0")), Err(SpawnError::ZeroByte)));
}

#[test]
fn ends_are_told_apart() {
    let run = |script: &str| {
        let args = ["sh", "-c", script].iter().map(Into::into).collect();
        let mut child =
            spawn(Spawn { exe: "/bin/sh".into(), args, env: vec![], fds: vec![] }).unwrap();
        ended(&mut child)
    };
    assert_eq!(run("exit 0"), Exit::Code(0));
    assert_eq!(run("exit 3").to_string(), "exit code 3");
    assert_eq!(run("kill -SEGV $$").to_string(), "killed by SIGSEGV");
    assert!(run("exit 0").success() && !run("exit 1").success());
}
