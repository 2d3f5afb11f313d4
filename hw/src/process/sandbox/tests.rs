//! Tried for real, in a process of its own: the walls cannot be taken down again.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::codec::{Picture, VideoDecoder, VideoEncoder, VideoEncoderConfig, VideoOut};
use crate::memory::{ring, sealed};
use crate::process::{Bell, Received, SeqPacket, wait};
use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = format!("process::sandbox::tests::{test}");
    command.args([&test, "--exact", "--ignored", "--nocapture", "--quiet"]);
    command
}

#[test]
fn what_a_decoder_does_not_need_is_refused() {
    assert!(again("attempts").status().unwrap().success());
}

#[test]
fn what_a_transcoder_needs_still_works() {
    assert!(again("work").status().unwrap().success());
}

#[test]
fn abort_still_ends_the_process_as_a_crash() {
    use std::os::unix::process::ExitStatusExt;
    let mut command = again("abort");
    let status = command.stderr(std::process::Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
}

#[test]
#[ignore = "a child process of the tests above"]
fn abort() {
    sandbox().unwrap();
    std::process::abort();
}

/// A system call with arguments that would make it fail in another way if it were let through.
fn errno_of(call: i64) -> i32 {
    // SAFETY: where the filter stands, the kernel does nothing; where it does not, these calls fail
    // on the bad descriptors and addresses (all arguments are -1) without touching memory.
    let result = unsafe { libc::syscall(call, -1, -1, -1, -1, -1, -1) };
    assert_eq!(result, -1, "system call {call}");
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

#[test]
#[ignore = "a child process of the tests above"]
fn attempts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let waiting = TcpStream::connect(address).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "old").unwrap();
    sandbox().unwrap();

    fn refused<T>(what: &str, result: std::io::Result<T>) {
        let error = result.err().unwrap_or_else(|| panic!("{what} was let through"));
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}: {error}");
    }
    refused("connect", TcpStream::connect(address));
    refused("listen", TcpListener::bind("127.0.0.1:0"));
    refused("accept", listener.accept());
    refused("udp", UdpSocket::bind("127.0.0.1:0"));
    refused("socket pair", UnixStream::pair());
    refused("run a program", Command::new("/bin/true").status());
    refused("write a file", OpenOptions::new().write(true).open(&file));
    refused("append to a file", OpenOptions::new().append(true).open(&file));
    refused("make a file", File::create(folder.path().join("new")));
    refused("remove a file", std::fs::remove_file(&file));
    refused("rename a file", std::fs::rename(&file, folder.path().join("other")));
    refused("make a folder", std::fs::create_dir(folder.path().join("folder")));
    refused("link", std::os::unix::fs::symlink(&file, folder.path().join("link")));
    refused(
        "change a mode",
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o777)),
    );
    for call in [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_kill,
        libc::SYS_tgkill,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_reboot,
        libc::SYS_io_uring_setup,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_open_by_handle_at,
        libc::SYS_openat2,
        libc::SYS_setuid,
        libc::SYS_capset,
        libc::SYS_sched_setscheduler,
        libc::SYS_prctl,
        libc::SYS_ioctl,
        libc::SYS_sendto,
        libc::SYS_shmget,
        libc::SYS_mq_open,
        libc::SYS_pkey_mprotect,
    ] {
        assert_eq!(errno_of(call), libc::EPERM, "system call {call}");
    }
    assert_eq!(errno_of(libc::SYS_clone3), libc::ENOSYS);
    // SAFETY: as in errno_of: refused by the filter; without it the flags are invalid without CLONE_VM.
    let fork = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    assert_eq!(
        (fork, std::io::Error::last_os_error().raw_os_error()),
        (-1, Some(libc::EPERM)),
        "fork"
    );
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
    let page = std::num::NonZeroUsize::new(4096).unwrap();
    let code = ProtFlags::PROT_READ | ProtFlags::PROT_EXEC;
    // SAFETY: a fresh mapping at a place of the kernel's choice.
    let mapped = unsafe { mmap_anonymous(None, page, code, MapFlags::MAP_PRIVATE) };
    assert_eq!(mapped.err(), Some(nix::errno::Errno::EPERM), "executable memory");

    // Threads started before and after are behind the same walls.
    let thread =
        std::thread::spawn(move || refused("connect in a thread", TcpStream::connect(address)));
    thread.join().unwrap();
    drop(waiting);
    // The folder could not be removed from in here.
    std::mem::forget(folder);
}

#[test]
#[ignore = "a child process of the tests above"]
fn work() {
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let bell = Bell::new().unwrap();
    let mut writer = ring::Writer::create(1 << 20).unwrap();
    writer.push(&[b"record"], true).unwrap();
    let mut reader = ring::Reader::open(writer.fd().try_clone_to_owned().unwrap()).unwrap();
    sandbox().unwrap();

    let mut out = Vec::new();
    assert_eq!((reader.next(&mut out), &*out), (Ok(true), &b"record"[..]));
    let part = sealed::write(&[IoSlice::new(b"part")]).unwrap();
    ours.send(b"hello", Some(part.as_fd())).unwrap();
    assert_eq!(
        wait([(theirs.as_fd(), false), (bell.as_fd(), false)], Duration::from_secs(5)).unwrap(),
        [true, false]
    );
    let mut buffer = [0; 16];
    let Ok(Received::Message { len: 5, fd: Some(fd) }) = theirs.recv(&mut buffer) else {
        panic!("a part was sent")
    };
    assert_eq!(&sealed::map(fd, 10).unwrap()[..], b"part");
    bell.ring();
    assert!(bell.silence());

    let threads: Vec<_> = (0..32_u8)
        .map(|i| {
            std::thread::Builder::new()
                .name(format!("t{i}"))
                .spawn(move || vec![i; 8 << 20].len())
                .unwrap()
        })
        .collect();
    assert_eq!(threads.into_iter().map(|t| t.join().unwrap()).sum::<usize>(), 32 * (8 << 20));
    assert!(crate::clock::monotonic_us() > 0 && crate::clock::thread_cpu_us() > 0);
    std::thread::sleep(Duration::from_millis(1));
    assert!(std::fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:\t2"));
    assert!(std::thread::available_parallelism().unwrap().get() >= 1);
    eprintln!("what the sandboxed process says reaches the log");

    // Encoders and decoders with threads of their own, opened from scratch in here.
    for codec in [VideoOut::H264, VideoOut::Av1] {
        let mut config = VideoEncoderConfig::live(codec, 320, 180, 30, 300_000);
        config.threads = 2;
        let mut encoder = VideoEncoder::open(&config).unwrap();
        let mut encoded = Vec::new();
        let picture = Picture::black(320, 180).unwrap();
        for frame in 0..5 {
            encoder.encode(&picture, frame, frame == 0, &mut encoded).unwrap();
        }
        encoder.flush(&mut encoded).unwrap();
        assert_eq!(encoded.len(), 5, "{codec:?}");
        let mut decoder = VideoDecoder::of_samples(encoder.header(), 2).unwrap();
        let mut pictures = Vec::new();
        for sample in &encoded {
            decoder.decode(&sample.data, sample.frame, &mut pictures).unwrap();
        }
        decoder.flush(&mut pictures).unwrap();
        assert_eq!(pictures.len(), 5, "{codec:?}");
    }
}
