//! The log's directory before RocksDB opens it: whose it is, and what stands there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rocksdb::{DB, Options};
use rustix::fs::{Mode, OFlags};

use super::lock::LOCK_FILE;
use super::{FAMILIES, META, engine_error, io_error, not_a_log};
use crate::Error;

/// The column families to open: ours, and those that the database has besides (it is then refused, after its version was
/// looked at). A directory that holds something else is refused untouched.
pub(super) fn families(path: &Path) -> Result<BTreeSet<String>, Error> {
    let ours: BTreeSet<String> = FAMILIES
        .into_iter()
        .chain(["default"])
        .map(str::to_owned)
        .collect();
    if !path.join("CURRENT").exists() {
        refuse_foreign_files(path)?;
        return Ok(ours);
    }
    let failed = |doing| move |e| engine_error(path, doing, e);
    let found = DB::list_cf(&Options::default(), path).map_err(failed("listing column families"))?;
    let found: BTreeSet<String> = found.into_iter().collect();
    if found.contains(META) {
        return Ok(found.union(&ours).cloned().collect());
    }
    let mut why = "it is a RocksDB database of another program";
    if found.iter().all(|name| ours.contains(name)) {
        // Ours, if a crash came between creating the database and its column families: then it is empty.
        let db =
            DB::open_for_read_only(&Options::default(), path, false).map_err(failed("looking into it"))?;
        let mut iterator = db.raw_iterator();
        iterator.seek_to_first();
        if !iterator.valid() {
            return Ok(ours);
        }
        why = "it is a RocksDB database of another program, with records of its own";
    }
    Err(Error::NotALog {
        path: path.to_path_buf(),
        why: why.into(),
    })
}

/// The column families of a database that is looked at and not touched.
pub(super) fn existing_families(path: &Path) -> Result<Vec<String>, Error> {
    // Told apart from a directory that is merely no log.
    fs::read_dir(path).map_err(|e| io_error(path, "reading", e))?;
    if !path.join("CURRENT").exists() {
        return Err(not_a_log(path, "it holds no database".into()));
    }
    let found = DB::list_cf(&Options::default(), path)
        .map_err(|e| engine_error(path, "listing column families", e))?;
    if FAMILIES.iter().all(|ours| found.iter().any(|name| name == ours)) {
        Ok(found)
    } else {
        let why = "it is a RocksDB database of another program, or of a log whose creation was interrupted";
        Err(not_a_log(path, why.into()))
    }
}

/// Bytes of all files in the directory.
pub(super) fn disk_bytes(path: &Path) -> Result<u64, Error> {
    let failed = |e| io_error(path, "measuring", e);
    let mut total = 0;
    for entry in fs::read_dir(path).map_err(failed)? {
        match entry.and_then(|entry| entry.metadata()) {
            Ok(metadata) => total += metadata.len(),
            // RocksDB deleted it meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(total)
}

/// Bytes that every device takes at once.
const DIRECT_BLOCK: usize = 4096;

/// True when files here can be written past the page cache, which some file systems refuse (tmpfs, some network shares).
pub(super) fn takes_direct_writes(path: &Path) -> bool {
    let file = path.join("direct.dbtmp");
    let memory = vec![0_u8; 2 * DIRECT_BLOCK];
    let start = memory.as_ptr().align_offset(DIRECT_BLOCK);
    let outcome = rustix::fs::open(
        &file,
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::DIRECT,
        Mode::RUSR | Mode::WUSR,
    )
    .and_then(|opened| {
        let block = memory.get(start..start + DIRECT_BLOCK).unwrap_or_default();
        rustix::io::write(opened, block)
    });
    // What is left over is found to be ours, and harmless, at the next opening.
    drop(fs::remove_file(&file));
    let taken = matches!(outcome, Ok(DIRECT_BLOCK));
    if !taken {
        tracing::info!(path = %path.display(), "log: this file system has no direct writes; tables go through the page cache");
    }
    taken
}

/// Refuses a directory that is neither empty nor a database whose creation was interrupted.
fn refuse_foreign_files(path: &Path) -> Result<(), Error> {
    let failed = |e| io_error(path, "reading", e);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        let ours = [
            "LOG",
            "LOCK",
            "MANIFEST-",
            "IDENTITY",
            "OPTIONS-",
            LOCK_FILE,
            "lost+found",
        ];
        if !ours.iter().any(|prefix| name.starts_with(prefix))
            && !name.ends_with(".dbtmp")
            && !name.ends_with(".log")
        {
            let why = format!("it holds other files ({name})");
            return Err(Error::NotALog {
                path: path.to_path_buf(),
                why,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_writes_are_tried_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // Either answer is right somewhere; both must leave the directory as it was.
        takes_direct_writes(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(!takes_direct_writes(&dir.path().join("missing")));
        // procfs refuses files at all.
        assert!(!takes_direct_writes(Path::new("/proc")));
    }
}
