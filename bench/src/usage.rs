//! CPU seconds, user and system together, as the kernel counts them in `/proc/PID/stat` (to a hundredth of a second), and memory.

use std::fs;

use anyhow::{Context, Result, anyhow};

/// The kernel reports in this unit whatever its own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a running process has used, its threads included.
pub(crate) fn of_process(pid: Option<u32>) -> Result<f64> {
    let pid = pid.ok_or_else(|| anyhow!("a process that is measured does not run"))?;
    sum(&pid.to_string(), 11)
}

/// Resident memory of a running process.
pub(crate) fn resident_kib(pid: Option<u32>) -> Result<f64> {
    let pid = pid.ok_or_else(|| anyhow!("a process that is measured does not run"))?;
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("reading /proc")?;
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .ok_or_else(|| anyhow!("no VmRSS of process {pid}"))
}

/// What this process has used.
pub(crate) fn of_this() -> Result<f64> {
    sum("self", 11)
}

/// What children of this process have used that have ended and been waited for.
pub(crate) fn of_ended_children() -> Result<f64> {
    sum("self", 13)
}

/// The sum of the field and the one after it, counted from the process's state as 0.
fn sum(process: &str, field: usize) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse(&text, field).ok_or_else(|| anyhow!("{path} holds {text:?}"))
}

fn parse(text: &str, field: usize) -> Option<f64> {
    // The program's name, in parentheses, may hold anything.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(field);
    let mut ticks = || fields.next()?.parse::<u32>().ok().map(f64::from);
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let text = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 7 3 20";
        assert_eq!(parse(text, 11), Some(2.0));
        assert_eq!(parse(text, 13), Some(0.1));
        assert_eq!(parse("42 (a", 11), None);
        assert!(of_this().unwrap() >= 0.0);
    }
}
