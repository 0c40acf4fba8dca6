//! Whether RocksDB's write-ahead log ends in a whole record. RocksDB itself drops a torn end without a word.
//!
//! The format (`db/log_format.h`): blocks of 32 KiB; in them records of a header (CRC u32, length u16 LE, type u8) and data,
//! never across a block's end; a block's last bytes are unused when no header fits. A batch is one record of type 1, or
//! several: 2 first, 3 middle, 4 last. Types from 9 on are notes to the reader, each a record of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
const NOTES: u8 = 9;

/// The numbers of all write-ahead logs in `path`.
pub(super) fn numbers(path: &Path) -> io::Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

/// How many bytes at the end of the newest write-ahead log in `path` are no whole batch; `None` if there are none.
pub(super) fn torn(path: &Path) -> io::Result<Option<u64>> {
    match numbers(path)?.last() {
        None => Ok(None),
        Some(number) => torn_end(File::open(path.join(format!("{number:06}.log")))?),
    }
}

fn torn_end(mut file: impl Read) -> io::Result<Option<u64>> {
    let (mut read, mut whole) = (0_u64, 0_u64);
    // Whether a batch has begun and not ended, whether records still follow each other, whether something follows the last batch.
    let (mut within, mut walking, mut more) = (false, true, false);
    let mut block = Vec::with_capacity(BLOCK);
    loop {
        block.clear();
        file.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        let mut rest = 0;
        if walking {
            let good;
            (good, within, walking) = walk(&block, within);
            if let Some(good) = good {
                (whole, rest, more) = (read + good as u64, good, false);
            }
        }
        // Zeros are room that was allocated ahead, or a block's unused end.
        more |= block[rest..].iter().any(|byte| *byte != 0);
        read += block.len() as u64;
        if block.len() < BLOCK {
            return Ok((within || more).then(|| read - whole));
        }
    }
}

/// Walks through a block: where its last whole batch ends, whether another has begun since, and whether the next block
/// goes on.
fn walk(block: &[u8], mut within: bool) -> (Option<usize>, bool, bool) {
    let (mut at, mut good) = (0, None);
    while let Some([_, _, _, _, low, high, kind]) = block.get(at..at + HEADER) {
        let end = at + HEADER + usize::from(u16::from_le_bytes([*low, *high]));
        if *kind == 0 || end > block.len() {
            return (good, within, false);
        }
        at = end;
        match *kind {
            FIRST | MIDDLE => within = true,
            FULL | LAST => (within, good) = (false, Some(at)),
            NOTES.. if !within => good = Some(at),
            _ => {}
        }
    }
    (good, within, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of batches of these sizes, laid out as RocksDB does.
    fn wal(sizes: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let (mut out, mut ends) = (Vec::new(), vec![0]);
        for &size in sizes {
            let (mut left, mut first) = (size, true);
            loop {
                let room = BLOCK - out.len() % BLOCK;
                if room < HEADER {
                    out.resize(out.len() + room, 0);
                    continue;
                }
                let here = left.min(room - HEADER);
                left -= here;
                let kind = match (first, left == 0) {
                    (true, true) => FULL,
                    (true, false) => FIRST,
                    (false, false) => MIDDLE,
                    (false, true) => LAST,
                };
                let length = u16::try_from(here).unwrap().to_le_bytes();
                out.extend_from_slice(&[9, 9, 9, 9, length[0], length[1], kind]);
                out.resize(out.len() + here, 7);
                first = false;
                if left == 0 {
                    break;
                }
            }
            ends.push(out.len());
        }
        (out, ends)
    }

    #[test]
    fn every_cut_but_those_between_batches_is_torn() {
        for sizes in [
            &[100, 40_000, 3, 70_000, 0, 12][..],
            &[BLOCK - HEADER, 5],
            &[BLOCK - HEADER - 3, 5],
        ] {
            let (bytes, ends) = wal(sizes);
            for cut in 0..=bytes.len() {
                let before = *ends.iter().rev().find(|end| **end <= cut).unwrap();
                let found = torn_end(&bytes[..cut]).unwrap();
                let unused = bytes[before..cut].iter().all(|byte| *byte == 0);
                let expected = (cut > before && !unused).then(|| (cut - before) as u64);
                // Bytes of a block's unused end may count as part of what stands before them.
                let same = found == expected
                    || (found.is_some() && expected.is_some_and(|n| n - found.unwrap() < 7));
                assert!(same, "cut at {cut}: {found:?}, not {expected:?}");
            }
        }
    }

    #[test]
    fn room_allocated_ahead_is_not_torn() {
        let (mut bytes, _) = wal(&[100, 40_000]);
        bytes.resize(bytes.len() + 200_000, 0);
        assert_eq!(torn_end(&bytes[..]).unwrap(), None);
    }

    #[test]
    fn no_log_is_not_torn() {
        assert_eq!(torn_end(&[][..]).unwrap(), None);
        assert_eq!(torn(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }
}
