//! Whether tables are compressed: only while that pays. Pure.
//!
//! LZ4 takes about as much time per byte as everything else that capture does. Each table flushed in a rush is measured; when
//! LZ4 saved too little, the next ones go without it, and now and then one is tried again.

/// A table that takes more than this many percent of its records was not worth the work.
const PAYS: u64 = 80;

/// So many tables go without before compression is tried again.
const REST: u32 = 63;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Compression {
    /// Tables left to write without it; 0: it is on.
    rest: u32,
}

impl Compression {
    /// A table of `stored` bytes was flushed that holds `raw` bytes of records. Whether compression is to be turned on or off.
    pub(super) fn flushed(&mut self, raw: u64, stored: u64) -> Option<bool> {
        if self.rest > 0 {
            self.rest -= 1;
            return (self.rest == 0).then_some(true);
        }
        if stored.saturating_mul(100) <= raw.saturating_mul(PAYS) {
            return None;
        }
        self.rest = REST;
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_compress_is_tried_again_now_and_then() {
        let mut compression = Compression::default();
        assert_eq!(compression.flushed(100, 50), None);
        assert_eq!(compression.flushed(100, 80), None);
        for _round in 0..3 {
            assert_eq!(compression.flushed(100, 81), Some(false));
            for _table in 1..REST {
                assert_eq!(compression.flushed(100, 101), None);
            }
            assert_eq!(compression.flushed(100, 101), Some(true));
        }
        assert_eq!(compression.flushed(100, 40), None);
    }
}
