//! `mysql_native_password` through the proxy: MySQL 9 has no such server any more, so the test plays one that checks the scramble
//! for its nonce; the client is a driver of its own.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use outrigger_protocol::auth::{AuthSwitchRequest, CACHING_SHA2_PASSWORD, NATIVE_PASSWORD, native_password};
use outrigger_protocol::handshake::HandshakeResponse;

use super::rig::*;
use super::*;

const PASSWORD: &[u8] = b"native secret";
const NONCE: &[u8; 20] = b"0123456789abcdefghij";

/// A server whose accounts have native passwords; it may greet with another plugin and switch.
async fn play(mut stream: UnixStream, greets_with: &'static str) {
    let greeting = Greeting {
        server_version: b"5.7.44".to_vec(),
        connection_id: 8,
        capabilities: Capabilities::all(),
        collation: 45,
        status: StatusFlags::AUTOCOMMIT,
        auth_data: NONCE.to_vec(),
        auth_plugin: greets_with.as_bytes().to_vec(),
    };
    send(&mut stream, &greeting.encode(), 0).await;
    let (mut seq, payload) = receive(&mut stream).await;
    let response = HandshakeResponse::parse(&payload).expect("a response");
    let wanted = response.capabilities;
    let mut nonce = NONCE.to_vec();
    let mut proof = response.auth_response.to_vec();
    if greets_with != NATIVE_PASSWORD {
        nonce.reverse();
        let switch = AuthSwitchRequest {
            plugin: NATIVE_PASSWORD.as_bytes(),
            data: &nonce,
        };
        send(&mut stream, &switch.encode(), seq + 1).await;
        (seq, proof) = receive(&mut stream).await;
    }
    if proof != native_password(PASSWORD, &nonce) {
        let refusal = ErrPacket {
            code: 1045,
            sqlstate: Some(*b"28000"),
            message: b"Access denied for user 'app'".as_slice().into(),
        };
        return send(&mut stream, &refusal.encode(), seq + 1).await;
    }
    send(&mut stream, &OkPacket::default().encode(wanted), seq + 1).await;
    // Whatever is commanded next is done.
    while let Some((seq, _command)) = try_receive(&mut stream).await {
        send(&mut stream, &OkPacket::default().encode(wanted), seq + 1).await;
    }
}

#[tokio::test]
async fn the_scramble_passes_unchanged_at_once_and_after_a_switch() {
    for greets_with in [NATIVE_PASSWORD, CACHING_SHA2_PASSWORD] {
        let rig = Rig::before(|_config| {}, move |stream| play(stream, greets_with)).await;
        let login = |password: &'static str| {
            let opts = OptsBuilder::default()
                .socket(Some(rig.path().to_str().expect("a path")))
                .user(Some("app"))
                .pass(Some(password))
                .max_allowed_packet(Some(1 << 24))
                .wait_timeout(Some(60));
            Conn::new(opts)
        };
        let mut conn = login("native secret").await.expect("logged in");
        conn.ping().await.expect("a session");
        drop(conn);
        let refused = login("native secrets")
            .await
            .expect_err("a wrong password")
            .to_string();
        assert!(
            refused.contains("1045") && refused.contains("Access denied"),
            "{refused}"
        );
        rig.stop().await;
    }
}
