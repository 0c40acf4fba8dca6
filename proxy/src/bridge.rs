//! What client and source must each be told during authentication where their links differ in safety.
//!
//! Some plugins want the password itself: as it is over a link that they hold for safe, else encrypted with a public key that the
//! client asks for. Each end goes by its own link. Where both come to the same, packets pass as they are; where not, the bridge does
//! the step that is missing: it gives the client a key of its own and sends on what that hides (an unsafe link before a safe one), or
//! asks the source for its key and hides what the client sent (a safe link before an unsafe one). The nonce is the source's all the
//! way, so scrambles need nothing.
//!
//! A pure machine: each payload of either side comes in, what is to be done with it comes out. Passwords live in buffers that are wiped,
//! and only until the next payload.

use outrigger_protocol::auth::{
    AUTH_MORE_DATA, AuthPacket, AuthSwitchRequest, CACHING_SHA2_PASSWORD, CLEAR_PASSWORD,
    SHA2_FAST_AUTH_SUCCESS, SHA2_FULL_AUTHENTICATION, SHA2_REQUEST_PUBLIC_KEY, SHA256_PASSWORD,
    SHA256_REQUEST_PUBLIC_KEY, unxor_password, xor_password,
};
use outrigger_protocol::cursor::Cursor;
use outrigger_protocol::handshake::{Capabilities, ChangeUser, HandshakeResponse, Rest, StatusFlags};
use outrigger_protocol::reply::{ErrPacket, OkPacket};
use outrigger_tls::rsa::{self, KeyPair};
use zeroize::Zeroizing;

/// A payload that may hold a password.
pub(crate) type Payload = Zeroizing<Vec<u8>>;

/// How somebody is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// TCP as it is.
    Plain,
    /// TLS, over whatever.
    Tls,
    /// A unix socket as it is.
    Socket,
}

/// What matters of the plugin that is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    CachingSha2,
    Sha256,
    /// Sends the password, or what is worth as much, as it is.
    Clear,
    /// Nothing that needs help.
    Other,
}

/// Plugins that send in clear what opens an account: for PAM and LDAP, OpenID Connect's token, MariaDB's PAM.
const CLEAR_PLUGINS: [&str; 3] = [CLEAR_PASSWORD, "authentication_openid_connect_client", "dialog"];

/// A name that is no plugin's: the source answers it by naming the account's own plugin.
const NO_PLUGIN: &[u8] = b"outrigger_ask_again";

impl Plugin {
    fn of(name: &[u8]) -> Self {
        if name == CACHING_SHA2_PASSWORD.as_bytes() {
            Self::CachingSha2
        } else if name == SHA256_PASSWORD.as_bytes() {
            Self::Sha256
        } else if CLEAR_PLUGINS.iter().any(|clear| name == clear.as_bytes()) {
            Self::Clear
        } else {
            Self::Other
        }
    }

    /// Whether the password goes over such a link as it is. `sha256_password` does not hold a unix socket for safe.
    fn trusts(self, link: Link) -> bool {
        match self {
            Self::Sha256 => link == Link::Tls,
            _ => link != Link::Plain,
        }
    }

    /// What a client sends to be given a public key.
    fn key_request(self) -> u8 {
        match self {
            Self::Sha256 => SHA256_REQUEST_PUBLIC_KEY,
            _ => SHA2_REQUEST_PUBLIC_KEY,
        }
    }
}

/// What the next payload is.
enum Step {
    /// Something that passes.
    Passing,
    /// The client's password in its form, or its request for a key.
    Password,
    /// The client's password, hidden with our key.
    Hidden,
    /// The source's key, for this password.
    Key(Payload),
}

/// What is to be done. Not to be printed (W1).
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(crate) enum Act {
    /// Send it to the source.
    ToUpstream(Payload),
    /// Send it to the client.
    ToClient(Payload),
    /// Send it to the client: authentication is over. The session's status if it succeeded.
    Over(Payload, Option<StatusFlags>),
    /// Authentication can't go on; the client gets this error.
    Refuse(ErrPacket<'static>),
}

/// One session's authentication, its first and any later one.
pub(crate) struct Bridge {
    client: Link,
    upstream: Link,
    capabilities: Capabilities,
    plugin: Plugin,
    /// The source's latest; a later authentication may go on with it.
    nonce: Vec<u8>,
    step: Step,
    /// How somebody without a password answers what the source asks for; absent in its turn.
    excuse: Option<&'static [u8]>,
}

impl Bridge {
    /// For a session that the source greeted with `nonce`.
    pub(crate) fn new(client: Link, upstream: Link, nonce: Vec<u8>) -> Self {
        Self {
            client,
            upstream,
            capabilities: Capabilities::empty(),
            plugin: Plugin::Other,
            nonce,
            step: Step::Passing,
            excuse: None,
        }
    }

    /// What the source gets in place of the client's next word, so that authentication fails and does not break off; `None` where it is the
    /// source's turn.
    pub(crate) fn excuse(&self) -> Option<&'static [u8]> {
        self.excuse
    }

    /// The client's response to the greeting, as the source must get it. `capabilities` are those that hold between the two.
    pub(crate) fn response(&mut self, payload: Payload, capabilities: Capabilities) -> Payload {
        self.capabilities = capabilities;
        self.begin(None);
        let Ok(response) = HandshakeResponse::parse(&payload) else {
            return payload;
        };
        self.begin(response.auth_plugin);
        if !self.must_ask_again(response.auth_response) {
            return payload;
        }
        let asking = HandshakeResponse {
            auth_response: b"",
            auth_plugin: Some(NO_PLUGIN),
            ..response
        };
        Zeroizing::new(asking.encode())
    }

    /// The client's COM_CHANGE_USER, as the source must get it.
    pub(crate) fn change_user(&mut self, payload: Payload) -> Payload {
        self.begin(None);
        let Ok(command) = ChangeUser::parse(&payload, self.capabilities) else {
            return payload;
        };
        let plugin = command.rest.as_ref().and_then(|rest| rest.auth_plugin);
        self.begin(plugin);
        if !self.must_ask_again(command.auth_response) {
            return payload;
        }
        let asking = ChangeUser {
            auth_response: b"",
            rest: command.rest.map(|rest| Rest {
                auth_plugin: Some(NO_PLUGIN),
                ..rest
            }),
            ..command
        };
        Zeroizing::new(asking.encode(self.capabilities))
    }

    fn begin(&mut self, plugin: Option<&[u8]>) {
        self.plugin = plugin.map_or(Plugin::Other, Plugin::of);
        self.step = Step::Passing;
    }

    /// Whether a first packet holds the password in a form that is not right for the source's link. It is then left out: the source
    /// asks again, and the client's answer to that can be dealt with.
    fn must_ask_again(&self, proof: &[u8]) -> bool {
        match self.plugin {
            Plugin::Sha256 => !is_empty_password(proof) && self.differs(),
            Plugin::Clear => !proof.is_empty() && !self.is_safe(),
            Plugin::CachingSha2 | Plugin::Other => false,
        }
    }

    /// Whether the plugin wants the password in one form from the client and in another by the source.
    fn differs(&self) -> bool {
        self.plugin.trusts(self.client) != self.plugin.trusts(self.upstream)
    }

    fn is_safe(&self) -> bool {
        self.plugin.trusts(self.client) && self.plugin.trusts(self.upstream)
    }

    /// A payload of the source's.
    pub(crate) fn upstream_payload(&mut self, payload: Payload) -> Act {
        self.excuse = excuse(&payload);
        let act = self.answer(payload);
        self.follow(act)
    }

    /// A payload of the client's. `key` is ours.
    pub(crate) fn client_payload(&mut self, payload: Payload, key: Option<&KeyPair>) -> Act {
        let act = self.convey(payload, key);
        self.follow(act)
    }

    fn follow(&mut self, act: Act) -> Act {
        if let Act::ToUpstream(_) = act {
            self.excuse = None;
        }
        act
    }

    fn answer(&mut self, payload: Payload) -> Act {
        let Ok(packet) = AuthPacket::parse(&payload) else {
            return Act::Refuse(malformed());
        };
        match packet {
            Some(AuthPacket::Ok) => {
                self.step = Step::Passing;
                let status = OkPacket::parse_head(&mut Cursor::new(&payload)).map(|ok| ok.status);
                Act::Over(payload, Some(status.unwrap_or(StatusFlags::empty())))
            }
            Some(AuthPacket::Err) => {
                self.step = Step::Passing;
                Act::Over(payload, None)
            }
            Some(AuthPacket::Switch(request) | AuthPacket::NextFactor(request)) => {
                match self.switch(request) {
                    Ok(()) => Act::ToClient(payload),
                    Err(error) => Act::Refuse(error),
                }
            }
            Some(AuthPacket::MoreData(data)) => match std::mem::replace(&mut self.step, Step::Passing) {
                Step::Key(password) => self.hide(&password, data),
                _ => {
                    if self.plugin == Plugin::CachingSha2 && data == [SHA2_FULL_AUTHENTICATION] {
                        self.step = Step::Password;
                    }
                    Act::ToClient(payload)
                }
            },
            // A plugin's own data.
            None => Act::ToClient(payload),
        }
    }

    fn switch(&mut self, request: AuthSwitchRequest<'_>) -> Result<(), ErrPacket<'static>> {
        self.begin(Some(request.plugin));
        self.nonce = request.data.to_vec();
        match self.plugin {
            Plugin::Sha256 => self.step = Step::Password,
            Plugin::Clear if !self.is_safe() => return Err(self.unsafe_for(request.plugin)),
            _ => {}
        }
        Ok(())
    }

    fn convey(&mut self, payload: Payload, key: Option<&KeyPair>) -> Act {
        match std::mem::replace(&mut self.step, Step::Passing) {
            Step::Passing => Act::ToUpstream(payload),
            Step::Password if !self.differs() || is_empty_password(&payload) => Act::ToUpstream(payload),
            Step::Password if self.plugin.trusts(self.client) => {
                let request = vec![self.plugin.key_request()];
                self.step = Step::Key(payload);
                Act::ToUpstream(Zeroizing::new(request))
            }
            Step::Password if *payload == [self.plugin.key_request()] => match key {
                Some(key) => {
                    self.step = Step::Hidden;
                    Act::ToClient(Zeroizing::new([&[AUTH_MORE_DATA], key.public_pem()].concat()))
                }
                None => Act::Refuse(unreadable()),
            },
            Step::Password | Step::Hidden => match key.and_then(|key| key.decrypt(&payload)) {
                Some(mut password) => {
                    unxor_password(&mut password, &self.nonce);
                    Act::ToUpstream(password)
                }
                None => Act::Refuse(unreadable()),
            },
            Step::Key(_password) => Act::Refuse(malformed()),
        }
    }

    /// Hides the client's password with the source's key.
    fn hide(&self, password: &Payload, pem: &[u8]) -> Act {
        let bare = password.strip_suffix(&[0]).unwrap_or(password);
        let hidden = Zeroizing::new(xor_password(bare, &self.nonce));
        match rsa::encrypt(&hidden, pem) {
            Ok(cipher) => Act::ToUpstream(Zeroizing::new(cipher)),
            Err(what) => Act::Refuse(ErrPacket::new(
                2061,
                "HY000",
                format!(
                    "Authentication can't go on between the proxy and the source: {what}; over TLS or a unix socket to the source it needs none"
                ),
            )),
        }
    }

    fn unsafe_for(&self, plugin: &[u8]) -> ErrPacket<'static> {
        let (which, what) = if self.plugin.trusts(self.client) {
            ("the proxy and the source", "set [source] tls, or socket")
        } else {
            (
                "client and proxy",
                "connect with TLS or over the proxy's unix socket",
            )
        };
        let plugin = String::from_utf8_lossy(plugin);
        ErrPacket::new(
            3159,
            "HY000",
            format!(
                "Authentication plugin '{plugin}' sends the password in clear, and the link between {which} is not safe: {what}"
            ),
        )
    }
}

/// How somebody without a password answers what the source says; `None` where that asks for nothing. By the server's plugins a first answer
/// may be empty, of `mysql_native_password` it must be; a second one may not: that breaks off like no answer
/// (`caching_sha2_password_authenticate` in its sql/auth/sha2_password.cc).
pub(crate) fn excuse(payload: &[u8]) -> Option<&'static [u8]> {
    match AuthPacket::parse(payload) {
        Ok(Some(AuthPacket::Switch(_) | AuthPacket::NextFactor(_))) => Some(b""),
        Ok(Some(AuthPacket::MoreData(data))) if data != [SHA2_FAST_AUTH_SUCCESS] => Some(b"\0"),
        _ => None,
    }
}

/// An empty password is told by no packet or a zero, over any link.
fn is_empty_password(payload: &[u8]) -> bool {
    matches!(payload, [] | [0])
}

fn malformed() -> ErrPacket<'static> {
    ErrPacket::new(1043, "08S01", "Bad handshake: a packet that has no place there")
}

fn unreadable() -> ErrPacket<'static> {
    ErrPacket::new(
        1045,
        "28000",
        "Access denied: the password is not encrypted with the proxy's RSA key; a client without TLS must ask for that \
         (get-server-public-key) and not bring the source's (server-public-key-path)",
    )
}

#[cfg(test)]
#[path = "bridge/tests.rs"]
mod tests;
