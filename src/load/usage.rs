//! What a process costs, as `/proc` tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// `USER_HZ`: ticks of the times in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

/// Cost so far of a process, and of its children together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// CPU seconds, user and system, all threads.
    pub(super) cpu: f64,
    /// Of those, in the kernel.
    pub(super) system: f64,
    /// Resident memory, bytes.
    pub(super) resident: u64,
    /// CPU seconds of the processes below it.
    pub(super) children_cpu: f64,
}

struct Line {
    parent: u32,
    user: f64,
    system: f64,
}

/// The cost of `pid` so far; nothing if there is no such process.
pub(super) fn of(pid: u32) -> Option<Usage> {
    let own = line(pid)?;
    let all: BTreeMap<u32, Line> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, line(pid)?))
        })
        .collect();
    let below = |mut candidate: u32| {
        // A chain of parents is short; a pid that was taken anew in between cannot make it endless.
        for _ in 0..64 {
            match all.get(&candidate) {
                Some(line) if line.parent == pid => return true,
                Some(line) => candidate = line.parent,
                None => return false,
            }
        }
        false
    };
    let children = all.iter().filter(|(candidate, _)| **candidate != pid && below(**candidate));
    Some(Usage {
        cpu: own.user + own.system,
        system: own.system,
        resident: resident(pid).unwrap_or(0),
        children_cpu: children.map(|(_, line)| line.user + line.system).sum(),
    })
}

fn line(pid: u32) -> Option<Line> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc_pid_stat(5). The name is in parentheses and may hold anything, parentheses too.
fn parse(stat: &str) -> Option<Line> {
    let (_, rest) = stat.rsplit_once(')')?;
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    Some(Line {
        parent: u32::try_from(number(1)?).ok()?,
        user: number(11)? as f64 / TICKS,
        system: number(12)? as f64 / TICKS,
    })
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kb: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kb * 1024)
}

/// Packets dropped so far because the UDP sockets on these ports had no room; nothing where that
/// cannot be read.
pub(super) fn udp_drops(ports: &BTreeSet<u16>) -> Option<u64> {
    let read = |file| fs::read_to_string(file).ok().map(|text| drops(&text, ports));
    Some(read("/proc/net/udp")? + read("/proc/net/udp6").unwrap_or(0))
}

/// `/proc/net/udp`: the second column is ADDRESS:PORT in hexadecimal, the last one drops.
fn drops(text: &str, ports: &BTreeSet<u16>) -> u64 {
    let of = |line: &str| -> Option<u64> {
        let (_, port) = line.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        line.split_ascii_whitespace().last()?.parse().ok().filter(|_| ports.contains(&port))
    };
    text.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_is_read_whatever_the_name() {
        let stat = "7 (a) b (c)) S 3 7 7 0 -1 4194560 1 2 3 4 250 150 9 9 20 0 1 0 5 6 7";
        let line = parse(stat).unwrap();
        assert_eq!((line.parent, line.user, line.system), (3, 2.5, 1.5));
        assert!(parse("7 (x").is_none() && parse("").is_none());
    }

    #[test]
    fn drops_are_those_of_the_ports_asked_for() {
        let text = "  sl  local_address rem_address   st tx_queue ... drops\n\
             1: 0100007F:1F90 00000000:0000 07 0:0 00:0 0 0 0 77 2 0 5\n\
             2: 00000000:1F91 00000000:0000 07 0:0 00:0 0 0 0 78 2 0 9\n";
        assert_eq!(drops(text, &BTreeSet::from([8080])), 5);
        assert_eq!(drops(text, &BTreeSet::from([8080, 8081, 1])), 14);
        assert!(udp_drops(&BTreeSet::new()).is_some_and(|drops| drops == 0));
    }

    #[test]
    fn this_process_costs_something_and_its_child_is_told_apart() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let usage = of(std::process::id()).unwrap();
        let of_child = of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(usage.resident > 1 << 20);
        assert!(of_child.unwrap().cpu < 1.0);
        assert_eq!(of(u32::MAX), None);
    }
}
