//! The machine's clocks. The only place where time is read; cores are handed it as a value.

use nix::time::{ClockId, clock_gettime};

/// Microseconds of `CLOCK_MONOTONIC`: since boot, never set back, the same in every process of the
/// box. It stands still while the machine is suspended.
pub fn monotonic_us() -> i64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Microseconds since the Unix epoch, by the wall clock, which may jump.
pub fn wall_us() -> i64 {
    read(ClockId::CLOCK_REALTIME)
}

/// CPU time of this process so far, user and system, microseconds, all threads.
pub fn process_cpu_us() -> u64 {
    u64::try_from(read(ClockId::CLOCK_PROCESS_CPUTIME_ID)).unwrap_or(0)
}

/// CPU time of the calling thread so far, user and system, microseconds.
pub fn thread_cpu_us() -> u64 {
    u64::try_from(read(ClockId::CLOCK_THREAD_CPUTIME_ID)).unwrap_or(0)
}

fn read(clock: ClockId) -> i64 {
    // These four clocks exist on every Linux, so reading one cannot fail; a panic in a media path
    // over it would still be the worse answer.
    clock_gettime(clock).map_or(0, |t| t.tv_sec() * 1_000_000 + t.tv_nsec() / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let mut last = monotonic_us();
        assert!(last > 0);
        for _ in 0..10_000 {
            let now = monotonic_us();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn cpu_clocks_count_work() {
        let (process, thread) = (process_cpu_us(), thread_cpu_us());
        let mut sum = 0_u64;
        while thread_cpu_us() < thread + 2_000 {
            sum = sum.wrapping_mul(31).wrapping_add(std::hint::black_box(7));
        }
        std::hint::black_box(sum);
        assert!(process_cpu_us() >= process + 2_000);
    }

    #[test]
    fn the_wall_clock_is_after_this_was_written() {
        assert!(wall_us() > 1_750_000_000_000_000);
    }
}
