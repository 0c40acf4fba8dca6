//! Definition statements: alone, in order, once (A6).

use std::sync::atomic::Ordering;

use outrigger_protocol::binlog::QueryEvent;
use outrigger_storage::Offset;

use super::{Halt, Planner};
use crate::ddl::{self, Change, Clock, Prepared, Rules, Verdict};
use crate::error::{Error, Place, Side};
use crate::link;

impl Planner {
    /// A statement that is neither a transaction's frame nor XA: leaves it out, applies it, or stops.
    pub(super) async fn definition(
        &mut self,
        query: &QueryEvent<'_>,
        timestamp: u32,
        place: &Place,
    ) -> Result<(), Halt> {
        // What was copied has the result of every definition statement up to there.
        if place.offset <= self.copied.exact_after.0 {
            return Ok(());
        }
        let rules = Rules {
            selection: &self.context.config.selection,
            metadata_database: &self.context.config.metadata_database,
            folds_names: self.folds_names,
        };
        match ddl::judge(query, timestamp, rules) {
            Verdict::Apply(change) => self.apply(*change, place).await,
            Verdict::Skip(why) => {
                tracing::debug!(%place, why = why.as_str(), "a statement is left out");
                Ok(())
            }
            Verdict::Stop(what) => Err(Error::Transaction {
                place: place.clone(),
                what,
            }
            .into()),
        }
    }

    async fn apply(&mut self, mut change: Change, place: &Place) -> Result<(), Halt> {
        if self
            .current
            .as_ref()
            .is_some_and(|transaction| transaction.changed)
        {
            let what = format!(
                "`{}` stands behind changed rows in one transaction, which no server logs",
                change.head()
            );
            return Err(Error::Transaction {
                place: place.clone(),
                what,
            }
            .into());
        }
        self.barrier().await?;
        // What was run is told by this offset: the log must not lose it.
        let mut durable = self.log.durable();
        let there = durable.wait_for(|durable| durable.0 >= place.offset).await;
        there.map_err(|_gone| outrigger_storage::Error::Closed)?;
        self.group.place = place.clone();
        let config = &self.context.config;
        let (timeout, window) = (config.connect_timeout, config.retry_window);
        let mut session = ddl::Session::open(
            &config.target,
            &self.context.sessions,
            timeout,
            window,
            &config.metadata_database,
            &config.name,
        )
        .await?;
        if change.settings.time_zone.as_deref().is_some_and(ddl::is_system) {
            change.settings.time_zone = Some(self.system_zone(&mut session, &change).await?);
        }
        let stored = self.pending.take();
        match session
            .prepare(&change, Offset(place.offset), stored.as_deref())
            .await?
        {
            Prepared::AlreadyApplied => {
                tracing::info!(%place, "a definition statement was applied before a crash")
            }
            Prepared::Run(pending) => {
                self.store_pending(Some(&pending)).await?;
                if let Err(refused) = session.run(&change, place).await {
                    // The server said no, so nothing of it is there: what is mended by hand now is no sign that it was run.
                    if refused.answered {
                        self.store_pending(None).await?;
                    }
                    return Err(refused.error.into());
                }
            }
        }
        tracing::info!(%place, statement = change.head(), "a definition statement is applied");
        self.context.status.counters.ddl.fetch_add(1, Ordering::Relaxed);
        self.context.metrics.ddl.increment(1);
        self.tables.forget();
        self.group.urgent = true;
        // Some statements are run again after a crash until the checkpoint has them: nothing may be noted behind them before.
        self.group.footprint.everything();
        Ok(())
    }

    /// How the target is told the zone of the source's machine (A5); found out once.
    async fn system_zone(&mut self, session: &mut ddl::Session, change: &Change) -> Result<String, Error> {
        if let Some(known) = &self.system_zone {
            return Ok(known.clone());
        }
        let config = &self.context.config;
        // Whoever replays a log up to a place does so without its source.
        let clock = match self.through {
            Some(_) => None,
            None => {
                let mut source = link::connect(&config.source, Side::Source, config.connect_timeout).await?;
                let clock = Clock::of_source(&mut source).await?;
                // The answer is in hand; how the session ends does not matter.
                source.disconnect().await.ok();
                Some(clock)
            }
        };
        let zone = session
            .system_zone(change, clock, config.system_time_zone.as_deref())
            .await?;
        tracing::info!(
            zone,
            "how the target is told the time zone of the source's machine"
        );
        Ok(self.system_zone.insert(zone).clone())
    }

    async fn store_pending(&mut self, pending: Option<&str>) -> Result<(), Error> {
        let mut sql = Vec::new();
        self.metadata
            .set_ddl_pending(&mut sql, self.context.epoch, pending);
        let (affected, ended) = self.target.run(&sql).await;
        ended.map_err(|cause| Error::server(Side::Target, "noting a definition statement", cause))?;
        if affected == [1] {
            return Ok(());
        }
        Err(self.metadata.fenced(&mut self.target, self.context.epoch).await)
    }
}
