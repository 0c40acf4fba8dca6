//! How many connections there are: altogether, by address, by user. Touched when a connection begins, authenticates and ends, never
//! by what flows in between.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Refusal;

/// All connections of a proxy. The maps hold what is connected now, so they are no larger than the number of connections.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    by_user: HashMap<Vec<u8>, usize>,
}

/// One connection's place among them, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    address: Option<IpAddr>,
    user: Option<Vec<u8>>,
}

impl Seats {
    /// A place for a connection, of which there are `most`.
    pub(crate) fn take(self: &Arc<Self>, most: usize) -> Result<Seat, Refusal> {
        let mut taken = self.lock();
        if taken.all >= most {
            return Err(Refusal::Full);
        }
        taken.all += 1;
        drop(taken);
        Ok(Seat {
            seats: Arc::clone(self),
            address: None,
            user: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The connection is this address's, which may have `most`, or any number where that is 0.
    pub(crate) fn belongs_to(&mut self, address: IpAddr, most: usize) -> Result<(), Refusal> {
        let mut taken = self.seats.lock();
        if !increment(&mut taken.by_address, address, most) {
            return Err(Refusal::FullForAddress(address));
        }
        if let Some(before) = self.address.replace(address) {
            decrement(&mut taken.by_address, before);
        }
        Ok(())
    }

    /// The session is this user's, who may have `most`, or any number where that is 0. If it was another's, it is no more.
    pub(crate) fn is_of(&mut self, user: &[u8], most: usize) -> Result<(), Refusal> {
        if self.user.as_deref() == Some(user) {
            return Ok(());
        }
        let mut taken = self.seats.lock();
        if !increment(&mut taken.by_user, user.to_vec(), most) {
            return Err(Refusal::FullForUser(String::from_utf8_lossy(user).into_owned()));
        }
        if let Some(before) = self.user.replace(user.to_vec()) {
            decrement(&mut taken.by_user, before);
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.all -= 1;
        if let Some(address) = self.address {
            decrement(&mut taken.by_address, address);
        }
        if let Some(user) = self.user.take() {
            decrement(&mut taken.by_user, user);
        }
    }
}

/// Counts one more, unless there are `most` (0: no limit).
fn increment<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, most: usize) -> bool {
    match counts.entry(key) {
        Entry::Occupied(count) if most > 0 && *count.get() >= most => false,
        entry => {
            *entry.or_default() += 1;
            true
        }
    }
}

fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_limit_holds_and_a_place_that_is_given_back_is_free() {
        let seats = Arc::new(Seats::default());
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut first = seats.take(2).expect("free");
        first.belongs_to(address, 1).expect("free");
        first.is_of(b"app", 1).expect("free");
        // The same again is not one more.
        first.is_of(b"app", 1).expect("the same");
        let mut second = seats.take(2).expect("free");
        assert_eq!(
            second.belongs_to(address, 1),
            Err(Refusal::FullForAddress(address))
        );
        assert_eq!(
            second.is_of(b"app", 1),
            Err(Refusal::FullForUser("app".to_owned()))
        );
        assert_eq!(seats.take(2).expect_err("full"), Refusal::Full);
        drop(first);
        second.belongs_to(address, 1).expect("free again");
        second.is_of(b"app", 1).expect("free again");
        second.is_of(b"other", 1).expect("free");
        let mut third = seats.take(2).expect("free");
        third.is_of(b"app", 1).expect("the second left it");
    }

    proptest! {
        #[test]
        fn counts_are_those_of_who_is_there(
            steps in prop::collection::vec((0..4_u8, 0..6_usize, 0..3_u8), 0..120), most in 0..4_usize,
        ) {
            let seats = Arc::new(Seats::default());
            let mut open: Vec<Seat> = Vec::new();
            for (step, which, who) in steps {
                match step {
                    0 => open.extend(seats.take(5)),
                    1 if which < open.len() => drop(open.swap_remove(which)),
                    2 if which < open.len() => drop(open[which].belongs_to(IpAddr::V4(Ipv4Addr::new(10, 0, 0, who)), most)),
                    3 if which < open.len() => drop(open[which].is_of(&[who], most)),
                    _ => {}
                }
                let taken = seats.lock();
                prop_assert_eq!(taken.all, open.len());
                prop_assert!(taken.all <= 5);
                prop_assert_eq!(taken.by_address.values().sum::<usize>(), open.iter().filter(|seat| seat.address.is_some()).count());
                prop_assert_eq!(taken.by_user.values().sum::<usize>(), open.iter().filter(|seat| seat.user.is_some()).count());
                let counts = taken.by_address.values().chain(taken.by_user.values());
                prop_assert!(counts.into_iter().all(|count| *count > 0 && (most == 0 || *count <= most)));
            }
        }
    }
}
