//! Binlog files made of what a log holds: `mysqlbinlog` reads them, the `mysql` client replays what it prints, and a
//! replica takes them for a server's own.
//!
//! A new file begins where the source began one (its numbering of transactions begins anew there), where checksums are
//! turned on or off, and where a file has reached its size; never inside a transaction. A file carries the suffix `.partial`
//! until it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use outrigger_protocol::binlog::{
    Body, Event, EventHeader, Events, FileHead, FileWriter, GtidEvent, Placing, Span, Splitter,
};
use outrigger_protocol::gtid::GtidSet;
use outrigger_storage::{Begin, Record};

/// Why an export ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{} can't be written: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        cause: io::Error,
    },
    /// A file of that name is there; nothing is overwritten.
    #[error("{} is there already: name an empty folder", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// An event is damaged, or not what a log holds.
    #[error("transaction {offset} can't be exported: {cause}")]
    Event {
        /// Its offset in the log.
        offset: u64,
        /// What is wrong.
        cause: outrigger_protocol::binlog::Error,
    },
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Its path.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The first transaction in it.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// How many.
    pub transactions: u64,
}

/// Takes records in order and writes files.
#[derive(Debug)]
pub struct Export {
    folder: PathBuf,
    prefix: String,
    max_size: u64,
    /// Every transaction before the next one.
    previous: GtidSet,
    open: Option<Open>,
    written: Vec<Written>,
}

/// The file that is being written.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    partial: PathBuf,
    out: BufWriter<File>,
    writer: FileWriter,
    /// Cuts the transaction that is being written into its events.
    splitter: Splitter,
    /// An event of it that is written in parts.
    placing: Option<Placing>,
    /// The source's file that the events are from.
    origin: String,
    /// The number that the source gave the last transaction in its file.
    sequence: i64,
    first: u64,
    last: u64,
    transactions: u64,
}

impl Export {
    /// Files `PREFIX.000001`, … in `folder`, which is created when missing; `previous` is every transaction before the first
    /// one. `max_size` in bytes: a file that would become larger ends, and a transaction that alone is larger has its own.
    ///
    /// # Errors
    /// When the folder can't be created.
    pub fn new(folder: &Path, prefix: &str, max_size: u64, previous: GtidSet) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|cause| Error::Io {
            path: folder.to_owned(),
            cause,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            prefix: prefix.to_owned(),
            max_size,
            previous,
            open: None,
            written: Vec::new(),
        })
    }

    /// The next record; a transaction's records follow each other.
    ///
    /// # Errors
    /// When it can't be written, or an event in it is damaged.
    pub fn record(&mut self, record: &Record) -> Result<(), Error> {
        let offset = record.offset.0;
        let broken = |cause| Error::Event { offset, cause };
        if let Some(begin) = &record.begin {
            let (header, gtid) = head(record, begin).map_err(broken)?;
            if self
                .open
                .as_ref()
                .is_some_and(|open| open.ends_before(begin, &gtid, record, self.max_size))
            {
                self.end_file(true)?;
            }
            let open = match &mut self.open {
                Some(open) => open,
                none => none.insert(Open::begin(
                    self.folder.join(name(&self.prefix, self.written.len())),
                    &FileHead {
                        server_id: header.server_id,
                        server_version: &version(&gtid),
                        timestamp: header.timestamp,
                        checksum: begin.checksum,
                        previous: &self.previous,
                    },
                    begin,
                    offset,
                )?),
            };
            open.sequence = gtid.sequence_number;
            open.last = offset;
            open.transactions += 1;
            if let Some(gtid) = &begin.gtid {
                self.previous.insert(gtid.clone());
            }
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        open.events(record)
    }

    /// Ends the last file and lists all in `PREFIX.index`, as a server does.
    ///
    /// # Errors
    /// When something can't be written.
    pub fn finish(mut self) -> Result<Vec<Written>, Error> {
        self.end_file(false)?;
        let lines: String = (0..self.written.len())
            .map(|n| format!("./{}\n", name(&self.prefix, n)))
            .collect();
        let path = self.folder.join(format!("{}.index", self.prefix));
        fs::write(&path, lines).map_err(|cause| Error::Io { path, cause })?;
        Ok(self.written)
    }

    fn end_file(&mut self, followed: bool) -> Result<(), Error> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let mut tail = Vec::new();
        let mut bytes = open.writer.length();
        if followed {
            let next = name(&self.prefix, self.written.len() + 1);
            open.writer
                .rotate(&next, &mut tail)
                .map_err(|cause| Error::Event {
                    offset: open.last,
                    cause,
                })?;
            bytes += tail.len() as u64;
        }
        let finish = || -> io::Result<()> {
            open.out.write_all(&tail)?;
            let file = open.out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&open.partial, &open.path)
        };
        finish().map_err(|cause| Error::Io {
            path: open.path.clone(),
            cause,
        })?;
        self.written.push(Written {
            path: open.path,
            bytes,
            first: open.first,
            last: open.last,
            transactions: open.transactions,
        });
        Ok(())
    }
}

impl Open {
    fn begin(path: PathBuf, head: &FileHead<'_>, begin: &Begin, first: u64) -> Result<Self, Error> {
        let partial = PathBuf::from(format!("{}.partial", path.display()));
        if path.exists() {
            return Err(Error::Exists { path });
        }
        let mut bytes = Vec::new();
        let writer =
            FileWriter::begin(head, &mut bytes).map_err(|cause| Error::Event { offset: first, cause })?;
        let create = || -> io::Result<BufWriter<File>> {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
            out.write_all(&bytes)?;
            Ok(out)
        };
        let out = create().map_err(|cause| Error::Io {
            path: partial.clone(),
            cause,
        })?;
        Ok(Self {
            path,
            partial,
            out,
            writer,
            splitter: Splitter::default(),
            placing: None,
            origin: begin.start.file.clone(),
            sequence: 0,
            first,
            last: first,
            transactions: 0,
        })
    }

    /// Writes a record's events. One that the log holds in parts is written in parts, too.
    fn events(&mut self, record: &Record) -> Result<(), Error> {
        let broken = |cause| Error::Event {
            offset: record.offset.0,
            cause,
        };
        let mut bytes: &[u8] = &record.events;
        while let Some(span) = self.splitter.next(&mut bytes).map_err(broken)? {
            match span {
                Span::Whole(event) => {
                    let placed = self.writer.place(event).map_err(broken)?;
                    for part in placed.parts() {
                        self.write(part)?;
                    }
                }
                Span::First(header, part) => {
                    let placing = self.writer.place_parts(header).map_err(broken)?;
                    self.write(placing.head())?;
                    self.placing = Some(placing);
                    self.part(part, &broken)?;
                }
                Span::More(part) => self.part(part, &broken)?,
                Span::Last(part) => {
                    self.part(part, &broken)?;
                    let placing = self.placing.take();
                    let checksum = placing.map_or(Ok(None), Placing::finish).map_err(broken)?;
                    self.write(checksum.as_ref().map_or(&[], |bytes| bytes.as_slice()))?;
                }
            }
        }
        if record.end.is_some() && !self.splitter.is_between() {
            return Err(broken(outrigger_protocol::binlog::Error::Truncated {
                what: "last event",
            }));
        }
        Ok(())
    }

    fn part(
        &mut self,
        part: &[u8],
        broken: &impl Fn(outrigger_protocol::binlog::Error) -> Error,
    ) -> Result<(), Error> {
        let Some(placing) = &mut self.placing else {
            return Ok(());
        };
        let body = placing.push(part).map_err(broken)?;
        self.write(body)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|cause| Error::Io {
            path: self.partial.clone(),
            cause,
        })
    }

    /// Whether the transaction belongs into another file.
    fn ends_before(&self, begin: &Begin, gtid: &GtidEvent, record: &Record, max_size: u64) -> bool {
        let known = record.events.len() as u64;
        let size = gtid.transaction_length.max(known);
        begin.start.file != self.origin
            || begin.checksum != self.writer.checksum()
            || (gtid.sequence_number > 0 && gtid.sequence_number <= self.sequence)
            || self.writer.length().saturating_add(size) > max_size
    }
}

fn name(prefix: &str, written: usize) -> String {
    format!("{prefix}.{:06}", written + 1)
}

/// The event that a transaction begins with.
fn head(
    record: &Record,
    begin: &Begin,
) -> Result<(EventHeader, GtidEvent), outrigger_protocol::binlog::Error> {
    let first = Events::new(&record.events).next().unwrap_or(Ok(&[]))?;
    let event = Event::parse(first, begin.checksum)?;
    match event.body {
        Body::Gtid(gtid) => Ok((event.header, gtid)),
        _ => Err(outrigger_protocol::binlog::Error::Unsupported {
            what: format!("a transaction that begins with {}", event.header.kind),
            advice: "the log holds transactions from their GTID event on; is it damaged?",
        }),
    }
}

/// The version of the server that wrote a transaction. It stands in GTID events since MySQL 8.0.14; servers before are told
/// apart from those by nothing that a reader of their events needs.
fn version(gtid: &GtidEvent) -> String {
    match gtid.immediate_server_version {
        0 | 999_999 => "5.7.0".to_owned(),
        number => format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100),
    }
}
