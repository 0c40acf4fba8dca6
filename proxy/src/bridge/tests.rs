//! Authentications payload by payload, over every pair of links, as client and source have them.

use std::sync::LazyLock;

use outrigger_protocol::auth::CACHING_SHA2_PASSWORD;
use proptest::prelude::*;

use super::*;

const PASSWORD: &[u8] = b"a secret\0";
const NONCE: &[u8] = b"0123456789abcdefghij";
const LINKS: [Link; 3] = [Link::Plain, Link::Tls, Link::Socket];

/// The proxy's key, and the source's.
static OURS: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().expect("a key pair"));
static THEIRS: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().expect("a key pair"));

const AGREED: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH);

fn payload(bytes: &[u8]) -> Payload {
    Zeroizing::new(bytes.to_vec())
}

fn response(plugin: &str, proof: &[u8]) -> Payload {
    let response = HandshakeResponse {
        capabilities: AGREED,
        max_packet_size: 1 << 24,
        collation: 45,
        user: b"app",
        auth_response: proof,
        database: None,
        auth_plugin: Some(plugin.as_bytes()),
        attributes: Vec::new(),
        zstd_level: None,
    };
    Zeroizing::new(response.encode())
}

fn switch_to(plugin: &str) -> Payload {
    let request = AuthSwitchRequest {
        plugin: plugin.as_bytes(),
        data: NONCE,
    };
    Zeroizing::new(request.encode())
}

/// A bridge whose client has answered the greeting by a plugin that needs nothing.
fn bridge(client: Link, upstream: Link) -> Bridge {
    let mut bridge = Bridge::new(client, upstream, b"another nonce".to_vec());
    let sent = response("some_plugin", b"proof");
    assert_eq!(bridge.response(sent.clone(), AGREED), sent);
    bridge
}

fn to_client(act: Act) -> Payload {
    match act {
        Act::ToClient(payload) => payload,
        other => unreachable!("{other:?}"),
    }
}

fn to_upstream(act: Act) -> Payload {
    match act {
        Act::ToUpstream(payload) => payload,
        other => unreachable!("{other:?}"),
    }
}

fn refusal(act: Act) -> (u16, String) {
    match act {
        Act::Refuse(error) => (error.code, error.text().into_owned()),
        other => unreachable!("{other:?}"),
    }
}

/// What a client and a source of these links make of each other when the password itself is wanted: the client's password, as the source
/// gets to know it.
fn prove(bridge: &mut Bridge, plugin: Plugin, (client, upstream): (Link, Link)) -> Vec<u8> {
    let request = [plugin.key_request()];
    // The client's side: its password as it is, or a key asked for, and the password hidden with what comes.
    let first = match plugin.trusts(client) {
        true => payload(PASSWORD),
        false => payload(&request),
    };
    let mut act = bridge.client_payload(first, Some(&OURS));
    loop {
        act = match act {
            Act::ToClient(data) => {
                assert!(
                    !plugin.trusts(client),
                    "a client over a safe link asked for nothing"
                );
                let hidden = xor_password(PASSWORD.strip_suffix(&[0]).expect("a zero"), NONCE);
                let cipher = rsa::encrypt(&hidden, &data[1..]).expect("a key");
                bridge.client_payload(payload(&cipher), Some(&OURS))
            }
            // The source's side.
            Act::ToUpstream(data) if plugin.trusts(upstream) => return data.to_vec(),
            Act::ToUpstream(data) if *data == request => {
                let key = [&[AUTH_MORE_DATA], THEIRS.public_pem()].concat();
                bridge.upstream_payload(payload(&key))
            }
            Act::ToUpstream(data) => {
                let mut password = THEIRS.decrypt(&data).expect("hidden with the source's key");
                unxor_password(&mut password, NONCE);
                return password.to_vec();
            }
            other => unreachable!("{other:?}"),
        };
    }
}

#[test]
fn the_password_arrives_over_every_pair_of_links() {
    for pair in LINKS
        .into_iter()
        .flat_map(|client| LINKS.map(|upstream| (client, upstream)))
    {
        for (name, plugin) in [
            (CACHING_SHA2_PASSWORD, Plugin::CachingSha2),
            (SHA256_PASSWORD, Plugin::Sha256),
        ] {
            let mut bridge = bridge(pair.0, pair.1);
            let switch = switch_to(name);
            assert_eq!(to_client(bridge.upstream_payload(switch.clone())), switch);
            if plugin == Plugin::CachingSha2 {
                let scramble = payload(&[7; 32]);
                assert_eq!(
                    to_upstream(bridge.client_payload(scramble.clone(), Some(&OURS))),
                    scramble
                );
                let full = payload(&[AUTH_MORE_DATA, SHA2_FULL_AUTHENTICATION]);
                assert_eq!(to_client(bridge.upstream_payload(full.clone())), full);
            }
            assert_eq!(prove(&mut bridge, plugin, pair), PASSWORD, "{name} over {pair:?}");
            let ok = payload(&OkPacket::default().encode(AGREED));
            assert_eq!(
                bridge.upstream_payload(ok.clone()),
                Act::Over(ok, Some(StatusFlags::empty()))
            );
        }
    }
}

#[test]
fn scrambles_and_plugins_that_need_nothing_pass() {
    for pair in LINKS
        .into_iter()
        .flat_map(|client| LINKS.map(|upstream| (client, upstream)))
    {
        let mut bridge = Bridge::new(pair.0, pair.1, NONCE.to_vec());
        let sent = response(CACHING_SHA2_PASSWORD, &[5; 32]);
        assert_eq!(bridge.response(sent.clone(), AGREED), sent);
        let fast = payload(&[AUTH_MORE_DATA, 3]);
        assert_eq!(to_client(bridge.upstream_payload(fast.clone())), fast);
        let err = payload(&ErrPacket::new(1045, "28000", "Access denied").encode());
        assert_eq!(bridge.upstream_payload(err.clone()), Act::Over(err, None));

        // A plugin's data may look like another's requests.
        let mut bridge = Bridge::new(pair.0, pair.1, NONCE.to_vec());
        to_client(bridge.upstream_payload(switch_to("mysql_native_password")));
        let answer = payload(&[2]);
        assert_eq!(
            to_upstream(bridge.client_payload(answer.clone(), Some(&OURS))),
            answer
        );
        for data in [b"\x01\x04".as_slice(), b"\x07data"] {
            assert_eq!(*to_client(bridge.upstream_payload(payload(data))), data);
            assert_eq!(
                to_upstream(bridge.client_payload(answer.clone(), Some(&OURS))),
                answer
            );
        }
    }
}

#[test]
fn an_empty_password_is_told_as_it_is() {
    for pair in LINKS
        .into_iter()
        .flat_map(|client| LINKS.map(|upstream| (client, upstream)))
    {
        for empty in [b"\0".as_slice(), b""] {
            let mut bridge = bridge(pair.0, pair.1);
            to_client(bridge.upstream_payload(switch_to(SHA256_PASSWORD)));
            assert_eq!(
                *to_upstream(bridge.client_payload(payload(empty), Some(&OURS))),
                empty
            );
            let mut bridge = Bridge::new(pair.0, pair.1, NONCE.to_vec());
            let sent = response(SHA256_PASSWORD, empty);
            assert_eq!(bridge.response(sent.clone(), AGREED), sent);
        }
    }
}

#[test]
fn a_password_in_the_first_packet_goes_on_only_in_a_form_that_the_sources_link_takes() {
    let cases = [
        (SHA256_PASSWORD, Link::Tls, Link::Tls, true),
        (SHA256_PASSWORD, Link::Plain, Link::Plain, true),
        (SHA256_PASSWORD, Link::Plain, Link::Socket, true),
        (SHA256_PASSWORD, Link::Tls, Link::Plain, false),
        (SHA256_PASSWORD, Link::Tls, Link::Socket, false),
        (SHA256_PASSWORD, Link::Plain, Link::Tls, false),
        (CLEAR_PASSWORD, Link::Tls, Link::Socket, true),
        (CLEAR_PASSWORD, Link::Tls, Link::Plain, false),
        (CLEAR_PASSWORD, Link::Plain, Link::Tls, false),
        (CLEAR_PASSWORD, Link::Plain, Link::Plain, false),
    ];
    for (plugin, client, upstream, passes) in cases {
        let sent = response(plugin, PASSWORD);
        let mut bridge = Bridge::new(client, upstream, NONCE.to_vec());
        let passed = bridge.response(sent.clone(), AGREED);
        assert_eq!(passed == sent, passes, "{plugin} {client:?} {upstream:?}");
        let read = HandshakeResponse::parse(&passed).expect("a response");
        assert_eq!(read.auth_response.is_empty(), !passes);
        assert_eq!(
            (read.user, read.capabilities),
            (
                b"app".as_slice(),
                AGREED | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA
            )
        );

        let command = ChangeUser {
            user: b"app",
            auth_response: PASSWORD,
            database: b"shop",
            rest: Some(Rest {
                collation: 255,
                auth_plugin: Some(plugin.as_bytes()),
                attributes: b"\x05attrs",
            }),
        };
        let sent = Zeroizing::new(command.encode(AGREED));
        let passed = bridge.change_user(sent.clone());
        assert_eq!(passed == sent, passes);
        let read = ChangeUser::parse(&passed, AGREED).expect("a command");
        assert_eq!(read.auth_response.is_empty(), !passes);
        assert_eq!((read.user, read.database), (command.user, command.database));
        assert_eq!(
            read.rest.map(|rest| rest.attributes),
            Some(b"\x05attrs".as_slice())
        );
    }
}

#[test]
fn cleartext_needs_two_safe_links() {
    for plugin in CLEAR_PLUGINS {
        for (client, upstream) in [
            (Link::Tls, Link::Tls),
            (Link::Socket, Link::Tls),
            (Link::Tls, Link::Socket),
        ] {
            let mut bridge = bridge(client, upstream);
            to_client(bridge.upstream_payload(switch_to(plugin)));
            assert_eq!(
                *to_upstream(bridge.client_payload(payload(PASSWORD), None)),
                PASSWORD
            );
        }
        for (client, upstream, which) in [
            (Link::Plain, Link::Tls, "client and proxy"),
            (Link::Plain, Link::Plain, "client and proxy"),
            (Link::Tls, Link::Plain, "proxy and the source"),
        ] {
            let (code, text) = refusal(bridge(client, upstream).upstream_payload(switch_to(plugin)));
            assert_eq!(code, 3159);
            assert!(text.contains(which) && text.contains(plugin), "{text}");
        }
    }
}

/// A bridge that waits for the client's password.
fn asked(client: Link, upstream: Link) -> Bridge {
    let mut bridge = bridge(client, upstream);
    to_client(bridge.upstream_payload(switch_to(CACHING_SHA2_PASSWORD)));
    to_upstream(bridge.client_payload(payload(&[7; 32]), Some(&OURS)));
    to_client(bridge.upstream_payload(payload(&[AUTH_MORE_DATA, SHA2_FULL_AUTHENTICATION])));
    bridge
}

#[test]
fn what_can_not_be_translated_is_refused_with_advice() {
    // A client that brings the source's key.
    let hidden = rsa::encrypt(&xor_password(b"secret", NONCE), THEIRS.public_pem()).expect("a key");
    let (code, text) = refusal(asked(Link::Plain, Link::Tls).client_payload(payload(&hidden), Some(&OURS)));
    assert!(code == 1045 && text.contains("server-public-key-path"), "{text}");
    let mut with_key = asked(Link::Plain, Link::Tls);
    to_client(with_key.client_payload(payload(&[2]), Some(&OURS)));
    assert_eq!(
        refusal(with_key.client_payload(payload(b"nonsense"), Some(&OURS))).0,
        1045
    );
    // A password that fits no RSA key.
    let mut long = asked(Link::Tls, Link::Plain);
    to_upstream(long.client_payload(payload(&[vec![b'x'; 300], vec![0]].concat()), None));
    let key = [&[AUTH_MORE_DATA], THEIRS.public_pem()].concat();
    let (code, text) = refusal(long.upstream_payload(payload(&key)));
    assert!(code == 2061 && text.contains("too long"), "{text}");
    // A source that sends no key, or a key that is none.
    let mut keyless = asked(Link::Tls, Link::Plain);
    to_upstream(keyless.client_payload(payload(PASSWORD), None));
    let (code, text) = refusal(keyless.upstream_payload(payload(b"\x01-----BEGIN")));
    assert!(code == 2061 && text.contains("RSA public key"), "{text}");
    // A client out of turn, and a source cut off.
    let mut early = asked(Link::Tls, Link::Plain);
    to_upstream(early.client_payload(payload(PASSWORD), None));
    assert_eq!(refusal(early.client_payload(payload(b"more"), None)).0, 1043);
    for cut in [b"\xfecaching_sha2".as_slice(), b"", b"\x02plugin"] {
        assert_eq!(
            refusal(bridge(Link::Tls, Link::Plain).upstream_payload(payload(cut))).0,
            1043
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_panics(pair in (0..3_usize, 0..3_usize), first: Vec<u8>, bits: u32,
        payloads in prop::collection::vec((any::<bool>(), prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            Just(vec![1, 4]), Just(vec![2]), Just(vec![1]), Just(PASSWORD.to_vec()),
            Just(switch_to(SHA256_PASSWORD).to_vec()), Just(switch_to(CACHING_SHA2_PASSWORD).to_vec()),
        ]), 0..12)) {
        let mut bridge = Bridge::new(LINKS[pair.0], LINKS[pair.1], NONCE.to_vec());
        bridge.response(payload(&first), Capabilities::from_bits_retain(bits));
        bridge.change_user(payload(&first));
        for (from_client, bytes) in payloads {
            if from_client {
                bridge.client_payload(payload(&bytes), Some(&OURS));
            } else {
                bridge.upstream_payload(payload(&bytes));
            }
        }
    }

    /// W1: whatever the client sends as its password, nothing of ours has it in words.
    #[test]
    fn no_error_has_the_password(secret in "[a-z]{12}") {
        for (client, upstream) in [(Link::Tls, Link::Plain), (Link::Plain, Link::Tls)] {
            let mut bridge = asked(client, upstream);
            let mut act = bridge.client_payload(payload(&[secret.as_bytes(), &[0]].concat()), Some(&OURS));
            if matches!(act, Act::ToUpstream(_)) {
                act = bridge.upstream_payload(payload(b"\x01nonsense"));
            }
            let (_, text) = refusal(act);
            prop_assert!(!text.contains(&secret));
        }
    }
}

/// A client may leave at any time: the source is answered where it waits, and only there.
#[test]
fn who_has_the_next_word_is_known() {
    let mut bridge = bridge(Link::Plain, Link::Tls);
    assert_eq!(bridge.excuse(), None);
    bridge.upstream_payload(switch_to("mysql_native_password"));
    assert_eq!(bridge.excuse(), Some(&b""[..]));
    bridge.client_payload(payload(b"proof"), None);
    assert_eq!(bridge.excuse(), None);
    bridge.upstream_payload(switch_to(CACHING_SHA2_PASSWORD));
    bridge.client_payload(payload(b"proof"), None);
    bridge.upstream_payload(payload(&[AUTH_MORE_DATA, SHA2_FAST_AUTH_SUCCESS]));
    assert_eq!(bridge.excuse(), None);
    bridge.upstream_payload(payload(&[AUTH_MORE_DATA, SHA2_FULL_AUTHENTICATION]));
    // It gets a key of ours, of which the source knows nothing.
    to_client(bridge.client_payload(payload(&[SHA2_REQUEST_PUBLIC_KEY]), Some(&OURS)));
    assert_eq!(bridge.excuse(), Some(&b"\0"[..]));
}
