//! XA_PREPARE: an XA transaction is prepared, or committed in one phase.

use super::Error;
use super::error::Within;
use crate::cursor::Cursor;

/// How a session's XA transaction ends in the binlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XaPrepare<'a> {
    /// True: `XA COMMIT … ONE PHASE`, the transaction is committed. False: `XA PREPARE`, it is committed or rolled back later by a
    /// QUERY event, perhaps of another session.
    pub one_phase: bool,
    /// The XID's format number.
    pub format_id: u32,
    /// Global transaction id, up to 64 bytes.
    pub gtrid: &'a [u8],
    /// Branch qualifier, up to 64 bytes.
    pub bqual: &'a [u8],
}

impl<'a> XaPrepare<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        const WHAT: &str = "XA_PREPARE event";
        const LONGEST: u32 = 64;
        let mut cursor = Cursor::new(body);
        let one_phase = cursor.u8().within(WHAT)? != 0;
        let format_id = cursor.u32().within(WHAT)?;
        let (gtrid, bqual) = (cursor.u32().within(WHAT)?, cursor.u32().within(WHAT)?);
        if gtrid > LONGEST || bqual > LONGEST {
            return Err(Error::malformed(
                WHAT,
                format!("an XID of {gtrid} and {bqual} bytes"),
            ));
        }
        let length = |wide: u32| usize::try_from(wide).unwrap_or(usize::MAX);
        Ok(Self {
            one_phase,
            format_id,
            gtrid: cursor.bytes(length(gtrid)).within(WHAT)?,
            bqual: cursor.bytes(length(bqual)).within(WHAT)?,
        })
    }
}
