//! Whether other programs use the CPU: what is measured then says more about them.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
/// Of all cores together.
const MOST_BUSY: f64 = 0.1;

/// Waits until other programs leave the cores alone, but no longer than a minute. Returns whether they do.
pub fn wait() -> bool {
    let begun = Instant::now();
    loop {
        let Some(before) = times() else { return true };
        sleep(LOOK);
        let Some(after) = times() else { return true };
        let busy = share(before, after);
        if busy <= MOST_BUSY {
            return true;
        }
        if begun.elapsed() > PATIENCE {
            eprintln!("    other programs keep {:.0} % of the cores busy: what follows is too slow", busy * 100.0);
            return false;
        }
    }
}

/// Busy time and all time since the start, if this system tells.
fn times() -> Option<(u64, u64)> {
    parse(&fs::read_to_string("/proc/stat").ok()?)
}

fn parse(stat: &str) -> Option<(u64, u64)> {
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in the first two.
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let fields: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    let idle: u64 = fields.get(3..5)?.iter().sum();
    let all: u64 = fields.iter().sum();
    Some((all - idle, all))
}

fn share(before: (u64, u64), after: (u64, u64)) -> f64 {
    (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_all_but_idle_and_waiting() {
        let before = parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3").unwrap();
        let after = parse("cpu  130 0 60 840 70 0 0 0 0 0").unwrap();
        assert_eq!((before, share(before, after)), ((150, 1000), 0.4));
        assert_eq!(parse("intr 1 2"), None);
    }
}
