//! Cuts bytes that hold one event after the other into events.

use super::{Error, EventHeader};

/// Events that stand one after the other, each as the bytes that its header says it has. After an error the iterator ends.
#[derive(Debug, Clone)]
pub struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    /// All events in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<&'a [u8], Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let whole = EventHeader::parse(self.rest).and_then(|header| {
            let size = usize::try_from(header.size).unwrap_or(usize::MAX);
            match self.rest.split_at_checked(size) {
                Some(parts) if size > 0 => Ok(parts),
                _ => Err(Error::Size {
                    stated: header.size,
                    actual: self.rest.len(),
                }),
            }
        });
        match whole {
            Ok((event, rest)) => {
                self.rest = rest;
                Some(Ok(event))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(19 + body.len()).unwrap();
        let mut bytes = vec![0; 19];
        bytes[9..13].copy_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn events_come_back_as_they_were_joined(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let events: Vec<Vec<u8>> = bodies.iter().map(|b| event(b)).collect();
            let joined = events.concat();
            let cut: Vec<Vec<u8>> = Events::new(&joined).map(|e| e.unwrap().to_vec()).collect();
            prop_assert_eq!(cut, events);
        }

        #[test]
        fn arbitrary_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Events::new(&bytes).count() <= bytes.len());
        }
    }
}
