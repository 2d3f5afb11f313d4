//! The list.

use super::Rules;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BackendError, SeccompCmpOp, SeccompCondition, SeccompRule};

/// Calls without a condition. Grouped by what they serve.
const ALWAYS: &[i64] = &[
    // memory (mmap and mprotect: below)
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // threads (clone: below; clone3 is refused by the other filter)
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // signals, of which abort() needs tgkill (below)
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // clocks and waiting
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    // descriptors it has
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_eventfd2,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_write,
    libc::SYS_writev,
    // new memory to hand over
    libc::SYS_ftruncate,
    libc::SYS_memfd_create,
    // looking at the machine: cores, features (openat: below)
    libc::SYS_faccessat,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // looking at itself
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_times,
];

/// The same in the words of older kernels, which x86-64 still has and its libraries still use.
#[cfg(target_arch = "x86_64")]
const ALWAYS_HERE: &[i64] = &[
    libc::SYS_access,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_HERE: &[i64] = &[];

/// What process `pid` may do.
pub(super) fn allowed(pid: u32) -> Result<Rules, BackendError> {
    let mut rules: Rules = ALWAYS.iter().chain(ALWAYS_HERE).map(|&call| (call, vec![])).collect();
    let all_of = |conditions: &[(u8, SeccompCmpOp, u64)]| {
        let conditions = conditions.iter().map(|(argument, op, value)| {
            SeccompCondition::new(*argument, Dword, op.clone(), *value)
        });
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    };
    let bits = |flags: i32| u64::from(flags.unsigned_abs());

    // No page becomes executable any more.
    let data = all_of(&[(2, MaskedEq(bits(libc::PROT_EXEC)), 0)])?;
    rules.insert(libc::SYS_mmap, vec![data.clone()]);
    rules.insert(libc::SYS_mprotect, vec![data]);

    // Threads, but no processes and no namespaces.
    let thread = bits(libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND);
    let spaces = [
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWUTS,
        libc::CLONE_PTRACE,
        libc::CLONE_VFORK,
    ];
    let mask = thread | spaces.iter().fold(0, |all, &flag| all | bits(flag));
    rules.insert(libc::SYS_clone, vec![all_of(&[(0, MaskedEq(mask), thread)])?]);

    // Files are opened for reading only, and none is made.
    let writing = bits(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND);
    let reading = |argument| all_of(&[(argument, MaskedEq(writing), 0)]);
    rules.insert(libc::SYS_openat, vec![reading(2)?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![reading(1)?]);

    // Signals to itself: how abort() ends.
    rules.insert(libc::SYS_tgkill, vec![all_of(&[(0, Eq, u64::from(pid))])?]);
    // Its own limits, to be read: the new limit is a null pointer, in both halves of the word.
    let null = SeccompCondition::new(2, seccompiler::SeccompCmpArgLen::Qword, Eq, 0)?;
    let own = SeccompCondition::new(0, Dword, Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![own, null])?]);
    // Names of threads and of memory areas.
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];
    let names = names.iter().map(|&name| all_of(&[(0, Eq, bits(name))]));
    rules.insert(libc::SYS_prctl, names.collect::<Result<_, _>>()?);
    // Whether standard error is a terminal.
    rules.insert(libc::SYS_ioctl, vec![all_of(&[(1, Eq, libc::TCGETS)])?]);
    Ok(rules)
}
