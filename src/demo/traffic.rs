//! The shop's customers: mixed transactions through the proxy, reconnecting when it is gone, until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, TxOpts};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::shop::Sizes;

/// What the traffic did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) committed: AtomicU64,
    pub(crate) rolled_back: AtomicU64,
    /// Connections that broke, as they do when the proxy is killed.
    pub(crate) interrupted: AtomicU64,
    /// Errors that an application would not expect.
    pub(crate) failed: AtomicU64,
}

/// One client: its connections and its dice.
pub(crate) struct Client {
    opts: Opts,
    sizes: Sizes,
    dice: StdRng,
    pace: Duration,
    tally: Arc<Tally>,
}

impl Client {
    /// A client that starts one transaction per `pace`, reproducible by `seed`.
    pub(crate) fn new(opts: Opts, sizes: Sizes, seed: u64, pace: Duration, tally: Arc<Tally>) -> Self {
        Self {
            opts,
            sizes,
            dice: StdRng::seed_from_u64(seed),
            pace,
            tally,
        }
    }

    /// Works until cancelled.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            match Conn::new(self.opts.clone()).await {
                Ok(conn) => self.session(conn, &cancel).await,
                Err(_refused) => {
                    self.tally.interrupted.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn session(&mut self, mut conn: Conn, cancel: &CancellationToken) {
        let mut next = Instant::now();
        while !cancel.is_cancelled() {
            match self.transaction(&mut conn).await {
                Ok(true) => self.tally.committed.fetch_add(1, Ordering::Relaxed),
                Ok(false) => self.tally.rolled_back.fetch_add(1, Ordering::Relaxed),
                // Deadlocks and lock waits are part of life with rows in common.
                Err(mysql_async::Error::Server(error)) if matches!(error.code, 1205 | 1213) => {
                    self.tally.rolled_back.fetch_add(1, Ordering::Relaxed)
                }
                Err(mysql_async::Error::Server(error)) if error.code != 1053 => {
                    tracing::warn!(code = error.code, "the shop got an error: {}", error.message);
                    self.tally.failed.fetch_add(1, Ordering::Relaxed)
                }
                Err(_broken) => {
                    self.tally.interrupted.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            };
            next += self.pace;
            tokio::time::sleep_until(next.into()).await;
        }
        // The server sees the end of the connection either way.
        drop(conn.disconnect().await);
    }

    /// One transaction of the mix; false when it was rolled back on purpose.
    async fn transaction(&mut self, conn: &mut Conn) -> mysql_async::Result<bool> {
        let order = self.dice.random_range(1..=self.sizes.orders);
        let customer = self.dice.random_range(1..=self.sizes.customers);
        let mut tx = conn.start_transaction(TxOpts::new()).await?;
        match self.dice.random_range(0..100) {
            0..40 => {
                self.place_order(&mut tx, customer).await?;
            }
            40..60 => {
                let sql = "UPDATE shop.customers SET credit = credit - 1.25, profile = JSON_SET(COALESCE(profile, '{}'), '$.seen', ?) WHERE id = ?";
                tx.exec_drop(sql, (order, customer)).await?;
            }
            60..70 => {
                tx.exec_drop(
                    "UPDATE shop.orders SET state = state % 4 + 1, handling = '-00:00:01.250' WHERE id = ?",
                    (order,),
                )
                .await?;
                tx.exec_drop("UPDATE shop.payments p JOIN shop.orders o ON o.id = ? SET p.paid = NOW(6), p.order_id = o.id WHERE p.id = UNHEX(LEFT(SHA2(?, 256), 32))", (order, order)).await?;
            }
            70..75 => {
                // The lines go by cascade, payments lose their order by SET NULL.
                tx.exec_drop("DELETE FROM shop.orders WHERE id = ?", (order,))
                    .await?;
            }
            75..80 => {
                let sku = format!("SKU-{:08}", self.dice.random_range(1..=self.sizes.products));
                tx.exec_drop("UPDATE shop.products SET price = price + 0.01, weight = weight * 1.1, stock = stock + 5 WHERE sku = ?", (sku,)).await?;
            }
            80..85 => {
                tx.exec_drop("DELETE FROM shop.events ORDER BY happened LIMIT 1", ())
                    .await?;
            }
            85..90 => {
                let sql = "REPLACE INTO shop.customers (id, email, name, city, password_hash) VALUES (?, ?, 'Rœplaced', 'Genève', REPEAT('x', 32))";
                let id = 10_000_000 + self.dice.random_range(0..500_u64);
                tx.exec_drop(sql, (id, format!("replaced{id}@example.com")))
                    .await?;
            }
            _ => {
                let sql = "INSERT INTO shop.events (happened, kind, payload) VALUES (NOW(6), 'view', JSON_OBJECT('who', ?)), (NOW(6), 'view', JSON_OBJECT('who', ?))";
                tx.exec_drop(sql, (customer, order)).await?;
            }
        }
        if self.dice.random_range(0..50) == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn place_order(
        &mut self,
        tx: &mut mysql_async::Transaction<'_>,
        customer: u64,
    ) -> mysql_async::Result<()> {
        tx.exec_drop(
            "INSERT INTO shop.orders (customer_id, placed, note) VALUES (?, NOW(6), 'from the demo ☂')",
            (customer,),
        )
        .await?;
        let order = tx.last_insert_id();
        let lines = self.dice.random_range(1..=4_u16);
        let mut stock = Vec::new();
        for line in 1..=lines {
            let sku = format!("SKU-{:08}", self.dice.random_range(1..=self.sizes.products));
            tx.exec_drop(
                "INSERT INTO shop.order_lines VALUES (?, ?, ?, ?, 9.99)",
                (order, line, &sku, line),
            )
            .await?;
            stock.push(sku);
        }
        // Always in the same order, so that two orders of the same products do not deadlock.
        stock.sort();
        for sku in stock {
            tx.exec_drop("UPDATE shop.products SET stock = stock - 1 WHERE sku = ?", (sku,))
                .await?;
        }
        let id: [u8; 16] = self.dice.random();
        let sql = "INSERT INTO shop.payments VALUES (?, ?, 12.3456, 'card', UNHEX(SHA2(?, 256)), NOW(6))";
        tx.exec_drop(sql, (&id[..], order, customer)).await
    }
}

/// Delay from a commit on the source to its row being visible on the target, sampled through the proxy.
pub(crate) async fn probe(
    source: &Opts,
    target: &Opts,
    cancel: &CancellationToken,
) -> mysql_async::Result<Vec<Duration>> {
    const GIVE_UP: Duration = Duration::from_secs(60);
    let (mut source, mut target) = (Conn::new(source.clone()).await?, Conn::new(target.clone()).await?);
    let mut delays = Vec::new();
    while !cancel.is_cancelled() {
        source
            .query_drop("INSERT INTO shop.probes (sent) VALUES (NOW(6))")
            .await?;
        let (id, committed) = (source.last_insert_id(), Instant::now());
        while committed.elapsed() < GIVE_UP {
            let seen: Option<u64> = target
                .exec_first("SELECT id FROM shop.probes WHERE id = ?", (id,))
                .await?;
            if seen.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        delays.push(committed.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(delays)
}
