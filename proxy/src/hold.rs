//! Holding back new transactions at their boundaries, and letting them go on.
//!
//! While a [`Hold`] lasts, sessions outside a transaction wait with their next command, of which the source sees nothing; what is under way
//! and transactions that are open (LOCK TABLES counts as one) go on until they end. So after some time nothing is inside, and nothing
//! was cut. A hold ends when it is released, dropped or over its time, and the waiting commands go on, each once and in its order. That of
//! a client which has closed goes on, too: it may have closed one direction only.
//!
//! After an error nobody knows whether a transaction is open ([`phase`](crate::phase)): while there is a hold such a session asks the source
//! between commands, counts as inside until that has answered, and begins nothing.
//!
//! A session says that it is busy before it looks whether there is a hold, and a hold is there before it is looked who is busy, both
//! sequentially consistent: whoever is not seen busy will see the hold.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::info;

use crate::roster::Roster;

/// Where commands pass, or wait.
#[derive(Debug)]
pub struct Gate {
    /// There is a hold, though its time may be over.
    closed: AtomicBool,
    order: watch::Sender<Order>,
    roster: Arc<Roster>,
}

/// The hold that is or was.
#[derive(Debug, Clone, Copy, Default)]
struct Order {
    number: u64,
    /// Absent once it was released.
    until: Option<Instant>,
}

impl Order {
    fn holds_at(self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// There is a hold already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("transactions are held already; one at a time can do that")]
pub struct AlreadyHeld;

/// Sessions that a hold waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inside {
    /// In a transaction, or holding locks of tables.
    pub in_transaction: usize,
    /// With a command under way outside of any, or asking the source whether they are in one.
    pub running: usize,
    /// Those that the proxy can't follow and so can't hold.
    pub unfollowed: usize,
}

impl Inside {
    /// True when every session is at a boundary.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in a transaction, {} with a command under way, {} that can't be followed",
            self.in_transaction, self.running, self.unfollowed
        )
    }
}

/// New transactions wait as long as this lives and its time is not over.
#[derive(Debug)]
pub struct Hold {
    gate: Arc<Gate>,
    number: u64,
    until: Instant,
}

impl Gate {
    pub(crate) fn new(roster: Arc<Roster>) -> Arc<Self> {
        Arc::new(Self {
            closed: AtomicBool::new(false),
            order: watch::Sender::new(Order::default()),
            roster,
        })
    }

    /// Holds new transactions back for no longer than `time`.
    ///
    /// # Errors
    /// While another hold lasts.
    pub fn hold(self: &Arc<Self>, time: Duration) -> Result<Hold, AlreadyHeld> {
        let now = Instant::now();
        let until = now + time;
        let mut number = 0;
        let held = self.order.send_if_modified(|order| {
            if order.holds_at(now) {
                return false;
            }
            number = order.number + 1;
            *order = Order {
                number,
                until: Some(until),
            };
            self.closed.store(true, Ordering::SeqCst);
            true
        });
        if !held {
            return Err(AlreadyHeld);
        }
        let hold = Hold {
            gate: Arc::clone(self),
            number,
            until,
        };
        info!(seconds = time.as_secs_f64(), inside = %hold.inside(), "new transactions are held");
        Ok(hold)
    }

    /// True while commands that would begin something must wait.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst) && self.order.borrow().holds_at(Instant::now())
    }

    /// Waits until commands may go on. Cancellation-safe.
    pub(crate) async fn opened(&self) {
        let mut order = self.order.subscribe();
        loop {
            let Some(until) = order.borrow_and_update().until else {
                return;
            };
            match timeout_at(until, order.changed()).await {
                // Released, or held anew.
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Waits until commands that would begin something must wait. Cancellation-safe.
    pub(crate) async fn closed(&self) {
        let mut order = self.order.subscribe();
        // Fails only when the gate is gone, and it is here.
        order.wait_for(|order| order.holds_at(Instant::now())).await.ok();
    }

    /// A session is not inside any more.
    pub(crate) fn left(&self) {
        if self.closed.load(Ordering::SeqCst) {
            self.roster.left.notify_waiters();
        }
    }

    fn release(&self, number: u64) {
        let released = self.order.send_if_modified(|order| {
            if order.number != number || order.until.is_none() {
                return false;
            }
            order.until = None;
            self.closed.store(false, Ordering::SeqCst);
            true
        });
        if released {
            info!("new transactions go on");
        }
    }
}

impl Hold {
    /// Who is still inside.
    pub fn inside(&self) -> Inside {
        self.gate.roster.inside()
    }

    /// True until its time is over.
    pub fn lasts(&self) -> bool {
        Instant::now() < self.until
    }

    /// Waits until nobody is inside, or the hold's time is over: then tells who still is. Cancellation-safe.
    ///
    /// # Errors
    /// Those who were still inside when the time was over.
    pub async fn settled(&self) -> Result<(), Inside> {
        loop {
            let mut left = std::pin::pin!(self.gate.roster.left.notified());
            // From here on nobody leaves unnoticed.
            left.as_mut().enable();
            let inside = self.inside();
            if !self.lasts() {
                return Err(inside);
            }
            if inside.is_empty() {
                return Ok(());
            }
            // Over or not: looked at above.
            timeout_at(self.until, left).await.ok();
        }
    }

    /// Lets everything go on.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.gate.release(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::State;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn one_hold_at_a_time_and_none_beyond_its_time() {
        let gate = Gate::new(Roster::new());
        assert!(!gate.is_closed());
        gate.opened().await;
        let first = gate.hold(LONG).expect("held");
        assert!(gate.is_closed());
        assert_eq!(gate.hold(LONG).map(drop), Err(AlreadyHeld));
        first.release();
        assert!(!gate.is_closed());
        let over = gate.hold(SHORT).expect("held");
        gate.opened().await;
        assert!(!gate.is_closed() && !over.lasts());
        // The one that is over does not end the next one.
        let next = gate.hold(LONG).expect("held");
        drop(over);
        assert!(gate.is_closed());
        drop(next);
        gate.opened().await;
    }

    #[tokio::test]
    async fn it_settles_once_the_last_has_left() {
        let roster = Roster::new();
        let gate = Gate::new(Arc::clone(&roster));
        let (writer, leaver, replica) = (
            roster.enter("a".to_owned(), Arc::from("l")),
            roster.enter("b".to_owned(), Arc::from("l")),
            roster.enter("c".to_owned(), Arc::from("l")),
        );
        replica.set_state(State::ENTERED | State::BUSY | State::REPLICATING);
        writer.set_state(State::ENTERED | State::BUSY | State::IN_TRANSACTION);
        leaver.set_state(State::ENTERED | State::BUSY);
        let hold = gate.hold(LONG).expect("held");
        let expected = Inside {
            in_transaction: 1,
            running: 1,
            unfollowed: 0,
        };
        assert_eq!(hold.inside(), expected);
        let (settled, ()) = tokio::join!(hold.settled(), async {
            tokio::task::yield_now().await;
            drop(leaver);
            tokio::task::yield_now().await;
            writer.set_state(State::ENTERED);
            gate.left();
        });
        assert_eq!(settled, Ok(()));
        hold.release();
        let hold = gate.hold(SHORT).expect("held");
        writer.set_state(State::ENTERED | State::UNFOLLOWED);
        let expected = Inside {
            unfollowed: 1,
            ..Inside::default()
        };
        assert_eq!(hold.settled().await, Err(expected));
    }
}
