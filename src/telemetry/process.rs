//! What the operating system says about this process.

use std::fs;

/// What the process uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Memory in RAM, in bytes.
    pub resident_bytes: u64,
    /// Open files and sockets.
    pub open_files: u64,
}

/// Reads `/proc/self`; `None` where there is none.
pub fn usage() -> Option<Usage> {
    let resident_bytes = resident(&fs::read_to_string("/proc/self/status").ok()?)?;
    let open_files = u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?;
    Some(Usage {
        resident_bytes,
        open_files,
    })
}

/// `VmRSS` of `/proc/PID/status`, which is in KiB.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_kernels_text() {
        assert_eq!(resident("VmHWM:\t   9 kB\nVmRSS:\t   5120 kB\n"), Some(5_242_880));
        assert_eq!(resident("VmRSS: many"), None);
        #[cfg(target_os = "linux")]
        assert!(usage().unwrap().resident_bytes > 100_000);
    }
}
