//! The file whose lock keeps a second process, or a second log in this one, out, and that says who has it.
//!
//! The lock is the kernel's and ends with its process; what the file says outlives a crash, and then tells of it.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::io_error;
use crate::Error;

pub(super) const LOCK_FILE: &str = "outrigger.lock";

/// Always this long: a full disk has room to write over it.
const LENGTH: usize = 256;
/// A glance ([`holder`]) takes the lock for a moment, so one refusal says nothing yet.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The process that has a log open, as far as it said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// Its process id.
    pub pid: Option<u32>,
    /// Its host's name.
    pub host: Option<String>,
    /// When it opened the log.
    pub since: Option<SystemTime>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("another process")?,
        }
        if let Some(host) = &self.host {
            write!(f, " on {host}")?;
        }
        if let Some(since) = self.since {
            write!(f, ", since {}", humantime::format_rfc3339_seconds(since))?;
        }
        Ok(())
    }
}

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// Who had the log before and did not close it.
    pub(super) left_by: Option<Holder>,
    /// Whether what that one left was put right, so that closing forgets it.
    settled: AtomicBool,
}

impl Lock {
    /// Takes the lock of the log in `path` and says so in its file.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let name = path.join(LOCK_FILE);
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&name)
            .map_err(|e| io_error(&name, "opening the lock file", e))?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::InUse {
                        path: path.to_path_buf(),
                        holder: read(&file).unwrap_or_default(),
                    });
                }
                Err(TryLockError::Error(e)) => return Err(io_error(&name, "locking", e)),
            }
        }
        let left_by = read(&file);
        let ours = Holder {
            pid: u32::try_from(rustix::process::getpid().as_raw_nonzero().get()).ok(),
            host: Some(rustix::system::uname().nodename().to_string_lossy().into_owned()),
            since: Some(SystemTime::now()),
        };
        write(&file, &encode(&ours));
        Ok(Self {
            file,
            left_by,
            settled: AtomicBool::new(false),
        })
    }

    /// Whether the directory at `path` still is the one that was locked: it may have been deleted, moved, or its disk unmounted,
    /// and files that are open don't notice.
    pub(super) fn is_in(&self, path: &Path) -> Result<bool, Error> {
        let name = path.join(LOCK_FILE);
        let failed = |e| io_error(&name, "looking for", e);
        let there = match std::fs::metadata(&name) {
            Ok(there) => there,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(false),
            Err(e) => return Err(failed(e)),
        };
        let ours = self.file.metadata().map_err(failed)?;
        Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
    }

    /// What a crash left was put right.
    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let left = self
            .left_by
            .as_ref()
            .filter(|_| !self.settled.load(Ordering::Relaxed));
        write(&self.file, &left.map(encode).unwrap_or_default());
    }
}

/// Who has the log in `path` open, if anybody. Takes the lock for a moment, shared.
pub(super) fn holder(path: &Path) -> Result<Option<Holder>, Error> {
    let name: PathBuf = path.join(LOCK_FILE);
    let file = match File::open(&name) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error(&name, "opening the lock file", e)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read(&file).unwrap_or_default())),
        Err(TryLockError::Error(e)) => Err(io_error(&name, "locking", e)),
    }
}

/// What the file says; `None` if nobody, or nothing that can be read.
fn read(file: &File) -> Option<Holder> {
    let mut bytes = [0; LENGTH];
    let length = file.read_at(&mut bytes, 0).ok()?;
    decode(std::str::from_utf8(&bytes[..length]).ok()?)
}

/// A courtesy to those who are refused: the lock holds without it.
fn write(file: &File, text: &str) {
    let padded = format!("{text:<width$}\n", width = LENGTH - 1);
    if let Err(error) = file.write_all_at(padded.as_bytes(), 0) {
        tracing::debug!(%error, "log: the lock file can't be written");
    }
}

fn encode(holder: &Holder) -> String {
    let since = holder
        .since
        .and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok());
    // Host names are far shorter; a longer one is cut rather than the line.
    let host: String = holder
        .host
        .iter()
        .flat_map(|host| host.chars())
        .take(150)
        .collect();
    format!(
        "pid={} since={} host={host}",
        holder.pid.unwrap_or_default(),
        since.unwrap_or_default().as_secs()
    )
}

fn decode(text: &str) -> Option<Holder> {
    let mut holder = Holder::default();
    for word in text.split_whitespace() {
        let (name, value) = word.split_once('=')?;
        match name {
            "pid" => holder.pid = value.parse().ok().filter(|pid| *pid > 0),
            "host" => holder.host = Some(value.to_owned()).filter(|host| !host.is_empty()),
            "since" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                holder.since = seconds
                    .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
            }
            _ => {}
        }
    }
    (holder != Holder::default()).then_some(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let holder = Holder {
            pid: Some(4711),
            host: Some("db1.example".to_owned()),
            since: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1_800_000_000)),
        };
        assert_eq!(decode(&encode(&holder)), Some(holder.clone()));
        assert_eq!(
            holder.to_string(),
            "process 4711 on db1.example, since 2027-01-15T08:00:00Z"
        );
        for nothing in ["", "\n", "garbage", "pid=x since=y"] {
            assert_eq!(decode(nothing), None, "{nothing:?}");
        }
    }
}
