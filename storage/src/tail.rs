//! The most recent records in memory, so that readers near the end of the log don't go to the disk. Pure.

use std::collections::VecDeque;

use crate::{Offset, Record};

/// What a record costs besides its events: names, GTID, the entry itself.
const OVERHEAD: usize = 320;

/// A run of consecutive records, bounded in bytes: the newest push out the oldest.
#[derive(Debug)]
pub(crate) struct Tail {
    records: VecDeque<Record>,
    bytes: usize,
    limit: usize,
}

impl Tail {
    /// An empty tail of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    /// Adds the records that follow all others.
    pub(crate) fn extend(&mut self, records: Vec<Record>) {
        for record in records {
            self.push(record);
        }
    }

    /// Adds the record that follows all others.
    fn push(&mut self, record: Record) {
        self.bytes += cost(&record);
        self.records.push_back(record);
        while self.bytes > self.limit {
            let Some(oldest) = self.records.pop_front() else {
                break;
            };
            self.bytes -= cost(&oldest);
        }
    }

    /// Forgets everything: what came last is not kept.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }

    /// Forgets `offset` and what follows: a transaction that is not going to be finished.
    pub(crate) fn discard(&mut self, offset: Offset) {
        while self.records.back().is_some_and(|record| record.offset >= offset) {
            if let Some(record) = self.records.pop_back() {
                self.bytes -= cost(&record);
            }
        }
    }

    /// Whether the record of that offset and piece is kept.
    pub(crate) fn contains(&self, wanted: (Offset, u32)) -> bool {
        self.records
            .binary_search_by_key(&wanted, |record| (record.offset, record.piece))
            .is_ok()
    }

    /// Puts records from `from` on, none beyond `through`, into `into`, as many as fit `budget` bytes and at least one;
    /// nothing if the first of them isn't kept any more.
    pub(crate) fn read(
        &self,
        from: (Offset, u32),
        through: Offset,
        budget: usize,
        into: &mut VecDeque<Record>,
    ) {
        let at = self
            .records
            .partition_point(|record| (record.offset, record.piece) < from);
        let mut taken = 0;
        for (nth, record) in self.records.range(at..).enumerate() {
            taken += cost(record);
            let wanted = nth > 0 || (record.offset, record.piece) == from;
            if !wanted || record.offset > through || (nth > 0 && taken > budget) {
                break;
            }
            into.push_back(record.clone());
        }
    }
}

fn cost(record: &Record) -> usize {
    record.events.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(offset: u64, piece: u32, size: usize) -> Record {
        Record {
            offset: Offset(offset),
            piece,
            begin: None,
            events: Bytes::from(vec![0; size]),
            end: None,
        }
    }

    fn read(tail: &Tail, from: (u64, u32), through: u64, budget: usize) -> Vec<(u64, u32)> {
        let mut into = VecDeque::new();
        tail.read((Offset(from.0), from.1), Offset(through), budget, &mut into);
        into.into_iter()
            .map(|record| (record.offset.0, record.piece))
            .collect()
    }

    #[test]
    fn serves_only_what_follows_without_a_gap() {
        let mut tail = Tail::new(1 << 20);
        for (offset, piece) in [(5, 0), (6, 0), (6, 1), (7, 0)] {
            tail.push(record(offset, piece, 10));
        }
        assert_eq!(read(&tail, (5, 0), 6, 10_000), [(5, 0), (6, 0), (6, 1)]);
        assert_eq!(read(&tail, (6, 1), 9, 10_000), [(6, 1), (7, 0)]);
        assert_eq!(read(&tail, (4, 0), 9, 10_000), []);
        assert_eq!(read(&tail, (8, 0), 9, 10_000), []);
        assert_eq!(read(&tail, (5, 0), 9, 1), [(5, 0)]);
    }

    #[test]
    fn the_newest_push_out_the_oldest() {
        let mut tail = Tail::new(3 * (100 + OVERHEAD));
        for offset in 1..=5 {
            tail.push(record(offset, 0, 100));
        }
        assert_eq!(read(&tail, (2, 0), 9, 10_000), []);
        assert_eq!(read(&tail, (3, 0), 9, 10_000), [(3, 0), (4, 0), (5, 0)]);
        tail.discard(Offset(5));
        assert_eq!(read(&tail, (3, 0), 9, 10_000), [(3, 0), (4, 0)]);
        tail.push(record(6, 0, 10_000));
        assert_eq!(read(&tail, (6, 0), 9, 10_000), []);
        assert_eq!(tail.bytes, 0);
    }
}
