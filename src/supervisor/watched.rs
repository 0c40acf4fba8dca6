//! What the proxy's guard asks before it refuses: what tasks select, and which binlog files capture still needs.

use std::sync::Arc;

use outrigger_capture::{Selection as _, State, Status};
use outrigger_protocol::position::FilePosition;
use outrigger_proxy::guard;

use super::selection::Wanted;
use crate::status::ObservedLog;

/// The sidecar as the guard sees it.
pub(super) struct Watched {
    pub(super) wanted: Wanted,
    pub(super) log: Arc<ObservedLog>,
    pub(super) capture: Arc<Status>,
}

impl guard::Watched for Watched {
    fn table(&self, database: &str, table: &str) -> bool {
        self.wanted.table(database, table)
    }

    fn database(&self, database: &str) -> bool {
        self.wanted.database(database)
    }

    fn may_purge(&self, before: Option<&str>) -> bool {
        let durable = self.log.open().and_then(|log| log.position());
        let Some(durable) = durable.map(|position| position.file) else {
            return false;
        };
        match before {
            Some(file) => is_past(&durable, file),
            // While capture reads a file, the server itself keeps that one and the later ones.
            None => {
                let capture = self.capture.snapshot();
                capture.state == State::Streaming
                    && capture.file.is_some_and(|read| read.file == durable.file)
            }
        }
    }
}

/// True when nothing before `file` is needed from this position on. Files are numbered after their last dot.
fn is_past(durable: &FilePosition, file: &str) -> bool {
    let number = |name: &str| {
        name.rsplit_once('.')
            .and_then(|(_, number)| number.parse::<u64>().ok())
    };
    number(file)
        .zip(number(&durable.file))
        .is_some_and(|(file, durable)| file <= durable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_compared_by_number() {
        let durable = FilePosition::new("binlog.000009", 4);
        for (file, past) in [
            ("binlog.000009", true),
            ("./binlog.000001", true),
            ("binlog.000010", false),
            ("binlog", false),
            ("", false),
        ] {
            assert_eq!(is_past(&durable, file), past, "{file}");
        }
        assert!(is_past(&FilePosition::new("binlog.1000000", 4), "binlog.999999"));
    }
}
