//! Rows of tables whose expressions read a TIMESTAMP: the source's session must have worked in the target's time zone, UTC.

use super::Planner;
use crate::error::{Error, Place, Side};
use crate::link;
use crate::replay::tables::Planned;
use crate::schema::zone::{Zones, is_utc, why_not};

impl Planner {
    /// Refuses rows of the current transaction that were written in another time zone into such a table.
    pub(super) async fn prove_zone(&mut self, planned: &Planned, place: &Place) -> Result<(), Error> {
        let Some(columns) = &planned.zoned else {
            return Ok(());
        };
        let told = self
            .current
            .as_ref()
            .and_then(|transaction| transaction.zone.clone());
        let zone = match told {
            Some(zone) if !zone.eq_ignore_ascii_case("SYSTEM") => zone,
            // Whoever replays a log without its source has to know.
            _ if self.through.is_some() => return Ok(()),
            told => self.zones().await?.resolve(told.as_deref()).to_owned(),
        };
        if is_utc(&zone) {
            return Ok(());
        }
        Err(Error::Definition {
            table: planned.table.quoted.clone(),
            place: place.clone(),
            what: why_not(columns, &zone),
        })
    }

    /// The source's time zones, asked for once.
    async fn zones(&mut self) -> Result<&Zones, Error> {
        let zones = match self.zones.take() {
            Some(known) => known,
            None => {
                let config = &self.context.config;
                let mut source = link::connect(&config.source, Side::Source, config.connect_timeout).await?;
                let zones = Zones::of_source(&mut source).await?;
                // The answer is in hand; how the session ends does not matter.
                source.disconnect().await.ok();
                zones
            }
        };
        Ok(self.zones.insert(zones))
    }
}
