//! Which transactions of a log are meant.

use outrigger_protocol::gtid::GtidSet;
use outrigger_storage::{Begin, Offset};

/// A choice of transactions: those that meet every condition that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// From this offset on.
    pub first: Option<Offset>,
    /// Up to and including this offset.
    pub last: Option<Offset>,
    /// With one of these GTIDs.
    pub gtids: Option<GtidSet>,
    /// Committed then or later, microseconds since 1970.
    pub since: Option<u64>,
    /// Committed then or earlier, microseconds since 1970.
    pub until: Option<u64>,
}

impl Range {
    /// Whether the transaction is meant.
    pub fn holds(&self, offset: Offset, begin: &Begin) -> bool {
        self.first.is_none_or(|first| offset >= first)
            && self.last.is_none_or(|last| offset <= last)
            && self
                .gtids
                .as_ref()
                .is_none_or(|set| begin.gtid.as_ref().is_some_and(|gtid| set.contains(gtid)))
            && self.since.is_none_or(|since| begin.commit_micros >= since)
            && self.until.is_none_or(|until| begin.commit_micros <= until)
    }

    /// Whether no later transaction can be meant. Times don't tell: a clock may go backwards.
    pub fn is_over(&self, offset: Offset) -> bool {
        self.last.is_some_and(|last| offset > last)
    }
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::binlog::ChecksumAlg;
    use outrigger_protocol::position::FilePosition;

    use super::*;

    #[test]
    fn every_condition_must_be_met() {
        let gtid = "aaaaaaaa-0000-0000-0000-000000000000:7";
        let begin = Begin {
            gtid: Some(gtid.parse().unwrap()),
            commit_micros: 50,
            checksum: ChecksumAlg::Off,
            start: FilePosition::new("b.000001", 4),
        };
        let holds = |range: Range| range.holds(Offset(5), &begin);
        let offset = |first, last| Range {
            first: Some(Offset(first)),
            last: Some(Offset(last)),
            ..Range::default()
        };
        let time = |since, until| Range {
            since: Some(since),
            until: Some(until),
            ..Range::default()
        };
        let gtids = |set: &str| Range {
            gtids: Some(set.parse().unwrap()),
            ..Range::default()
        };
        assert!(holds(Range::default()) && holds(offset(5, 5)) && holds(time(50, 50)) && holds(gtids(gtid)));
        assert!(!holds(offset(6, 9)) && !holds(offset(1, 4)) && !holds(time(51, 99)) && !holds(time(1, 49)));
        assert!(!holds(gtids("aaaaaaaa-0000-0000-0000-000000000000:1-6")));
        let anonymous = Begin {
            gtid: None,
            ..begin.clone()
        };
        assert!(!gtids(gtid).holds(Offset(5), &anonymous));
        assert!(offset(1, 4).is_over(Offset(5)) && !offset(1, 5).is_over(Offset(5)));
        assert!(!time(1, 2).is_over(Offset(5)));
    }
}
