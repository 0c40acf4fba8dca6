//! GTID, ANONYMOUS_GTID and GTID_TAGGED: how a transaction begins.

use super::Error;
use super::error::Within;
use crate::cursor::Cursor;
use crate::gtid::{Gtid, SourceId, Tag};

/// The head of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GtidEvent {
    /// The transaction's name; `None` where the source runs without GTIDs.
    pub gtid: Option<Gtid>,
    /// False when the transaction may hold statement-format DML (the server's "may have SBR" flag); true says rows only.
    pub rows_only: bool,
    /// Logical clock: this transaction may run beside all after this one; 0 when not told.
    pub last_committed: i64,
    /// Logical clock: this transaction's own number in its file; 0 when not told.
    pub sequence_number: i64,
    /// Microseconds since the epoch of the commit on the server that was read; 0 before MySQL 8.0.
    pub immediate_commit_micros: u64,
    /// Microseconds since the epoch of the commit where the transaction first ran; 0 before MySQL 8.0.
    pub original_commit_micros: u64,
    /// Bytes of all events of the transaction, this one included; 0 when not told.
    pub transaction_length: u64,
    /// Version of the server that was read (90700); 0 or 999999 when not told.
    pub immediate_server_version: u32,
    /// Version of the server where the transaction first ran.
    pub original_server_version: u32,
    /// Group commit ticket, `None` when not told.
    pub commit_group_ticket: Option<u64>,
}

/// Bit 0 of the event's flags: the transaction may hold statements.
const MAY_HAVE_STATEMENTS: u8 = 1;

/// The server's number for "no version known".
const UNDEFINED_VERSION: u32 = 999_999;

/// A transaction's number as the server allows it: 1 to 2^63 − 2.
fn number(value: i64, what: &'static str) -> Result<u64, Error> {
    match u64::try_from(value) {
        Ok(number) if number >= 1 && value < i64::MAX => Ok(number),
        _ => Err(Error::malformed(what, format!("transaction number {value}"))),
    }
}

impl GtidEvent {
    /// GTID and ANONYMOUS_GTID: fields of fixed places, later versions added more at the end.
    pub(super) fn parse(body: &[u8], anonymous: bool) -> Result<Self, Error> {
        const WHAT: &str = "GTID event";
        const LOGICAL_CLOCK: u8 = 2;
        const TWO_TIMES: u64 = 1 << 55;
        const TWO_VERSIONS: u32 = 1 << 31;
        let mut cursor = Cursor::new(body);
        let flags = cursor.u8().within(WHAT)?;
        let source = SourceId(cursor.array().within(WHAT)?);
        let gno = cursor.u64().within(WHAT)?.cast_signed();
        let gtid = if anonymous {
            None
        } else {
            Some(Gtid {
                source,
                tag: Tag::default(),
                number: number(gno, WHAT)?,
            })
        };
        let mut event = Self {
            gtid,
            rows_only: flags & MAY_HAVE_STATEMENTS == 0,
            ..Self::empty()
        };
        if cursor.is_empty() || cursor.u8().within(WHAT)? != LOGICAL_CLOCK {
            return Ok(event);
        }
        event.last_committed = cursor.u64().within(WHAT)?.cast_signed();
        event.sequence_number = cursor.u64().within(WHAT)?.cast_signed();
        if cursor.remaining() < 7 {
            return Ok(event);
        }
        let mut u56 = || -> Result<u64, Error> {
            let low = cursor.u48().within(WHAT)?;
            Ok(low | u64::from(cursor.u8().within(WHAT)?) << 48)
        };
        let immediate = u56()?;
        event.immediate_commit_micros = immediate & !TWO_TIMES;
        event.original_commit_micros = if immediate & TWO_TIMES == 0 {
            event.immediate_commit_micros
        } else {
            u56()?
        };
        if cursor.is_empty() {
            return Ok(event);
        }
        event.transaction_length = cursor.lenenc().within(WHAT)?;
        event.immediate_server_version = UNDEFINED_VERSION;
        event.original_server_version = UNDEFINED_VERSION;
        if cursor.remaining() < 4 {
            return Ok(event);
        }
        let immediate = cursor.u32().within(WHAT)?;
        event.immediate_server_version = immediate & !TWO_VERSIONS;
        event.original_server_version = if immediate & TWO_VERSIONS == 0 {
            event.immediate_server_version
        } else {
            cursor.u32().within(WHAT)?
        };
        event.commit_group_ticket = cursor.u64().ok().filter(|ticket| *ticket != 0);
        Ok(event)
    }

    /// GTID_TAGGED: MySQL's serialization library (`libs/mysql/serialization/readme.md`): a version, the size, the highest field
    /// that must be understood, then fields, each led by its number, absent ones left out.
    pub(super) fn parse_tagged(body: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "GTID_TAGGED event";
        const FORMAT_VERSION: u64 = 1;
        const KNOWN_FIELDS: u64 = 12;
        let mut fields = Fields(Cursor::new(body));
        let version = fields.unsigned()?;
        if version != FORMAT_VERSION {
            return Err(Error::malformed(WHAT, format!("serialization version {version}")));
        }
        let _size = fields.unsigned()?;
        let must_understand = fields.unsigned()?;
        if must_understand > KNOWN_FIELDS {
            return Err(Error::Unsupported {
                what: format!("a GTID_TAGGED event with the fields up to number {must_understand}"),
                advice: "the source is newer than this program: update it",
            });
        }
        let mut event = Self::empty();
        let (mut source, mut gno, mut tag) = (None, None, Tag::default());
        let (mut original_micros, mut original_version) = (None, None);
        while !fields.0.is_empty() {
            match fields.unsigned()? {
                0 => event.rows_only = fields.unsigned()? & u64::from(MAY_HAVE_STATEMENTS) == 0,
                1 => source = Some(fields.source_id()?),
                2 => gno = Some(fields.signed()?),
                3 => tag = fields.tag()?,
                4 => event.last_committed = fields.signed()?,
                5 => event.sequence_number = fields.signed()?,
                6 => event.immediate_commit_micros = fields.unsigned()?,
                7 => original_micros = Some(fields.unsigned()?),
                8 => event.transaction_length = fields.unsigned()?,
                9 => event.immediate_server_version = fields.version()?,
                10 => original_version = Some(fields.version()?),
                11 => event.commit_group_ticket = Some(fields.unsigned()?),
                // Newer and ignorable, and so is all after it: fields stand in ascending order.
                _ => break,
            }
        }
        let (Some(source), Some(gno)) = (source, gno) else {
            return Err(Error::malformed(WHAT, "source or number is missing"));
        };
        event.gtid = Some(Gtid {
            source,
            tag,
            number: number(gno, WHAT)?,
        });
        event.original_commit_micros = original_micros.unwrap_or(event.immediate_commit_micros);
        event.original_server_version = original_version.unwrap_or(event.immediate_server_version);
        Ok(event)
    }

    fn empty() -> Self {
        Self {
            gtid: None,
            rows_only: false,
            last_committed: 0,
            sequence_number: 0,
            immediate_commit_micros: 0,
            original_commit_micros: 0,
            transaction_length: 0,
            immediate_server_version: 0,
            original_server_version: 0,
            commit_group_ticket: None,
        }
    }
}

/// Values in the serialization library's binary form.
struct Fields<'a>(Cursor<'a>);

impl Fields<'_> {
    /// 1 to 9 bytes: as many trailing ones in the first byte as bytes follow it, then a zero, then the value.
    fn unsigned(&mut self) -> Result<u64, Error> {
        const WHAT: &str = "GTID_TAGGED event";
        let first = self.0.u8().within(WHAT)?;
        let following = first.trailing_ones();
        let mut value = 0;
        for place in 0..following {
            value |= u64::from(self.0.u8().within(WHAT)?) << (8 * place);
        }
        Ok(match following {
            7 | 8 => value,
            _ => (value << (7 - following)) | u64::from(first >> (following + 1)),
        })
    }

    /// The sign is the lowest bit; negative values are stored as −(x + 1).
    fn signed(&mut self) -> Result<i64, Error> {
        let value = self.unsigned()?;
        let magnitude = (value >> 1).cast_signed();
        Ok(if value & 1 == 0 { magnitude } else { !magnitude })
    }

    /// Sixteen numbers, each in one or two bytes.
    fn source_id(&mut self) -> Result<SourceId, Error> {
        let mut id = [0; 16];
        for byte in &mut id {
            *byte = self.small("a source id")?;
        }
        Ok(SourceId(id))
    }

    fn tag(&mut self) -> Result<Tag, Error> {
        const WHAT: &str = "GTID_TAGGED event";
        let length = usize::try_from(self.unsigned()?).unwrap_or(usize::MAX);
        let text = std::str::from_utf8(self.0.bytes(length).within(WHAT)?).unwrap_or("?");
        if text.is_empty() {
            return Ok(Tag::default());
        }
        Tag::new(text).ok_or_else(|| Error::malformed(WHAT, format!("tag {text:?}")))
    }

    fn version(&mut self) -> Result<u32, Error> {
        self.small("a server version")
    }

    fn small<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T, Error> {
        let value = self.unsigned()?;
        T::try_from(value)
            .map_err(|_too_large| Error::malformed("GTID_TAGGED event", format!("{what} holds {value}")))
    }
}
