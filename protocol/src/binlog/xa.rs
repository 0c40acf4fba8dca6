//! XA_PREPARE: an XA transaction is prepared, or committed in one phase.

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
