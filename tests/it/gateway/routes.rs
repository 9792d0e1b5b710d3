//! Ways to the other end: TLS, proxies, discovery.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use grotto::{
    gateway::{Discovered, GatewayOptions, TlsFiles, discover},
    link::{Proxy, RemoteRoute, Route, Transport},
    wire::{Limits, STREAM_PATH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::ends::{Service, remote, run};
use crate::{
    homeserver::{Kind, On},
    rig::{folder, free_port},
    scenario,
};

scenario::on_both! {
    a_homeserver_is_discovered_by_its_url,
}

/// A certificate for 127.0.0.1, signed by itself, in two PEM files.
fn certificate() -> TlsFiles {
    let dir = folder("tls");
    let files = TlsFiles { certificates: dir.join("cert.pem"), key: dir.join("key.pem") };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(root.join("target/py/bin/python"))
        .arg(root.join("tests/rig/certificate.py"))
        .args([&files.certificates, &files.key])
        .status()
        .unwrap();
    assert!(status.success());
    files
}

#[test]
fn tls_is_checked_and_an_extra_ca_is_believed() {
    let files = certificate();
    let extra_ca = Some(files.certificates.clone());
    let service = Service::with("http://127.0.0.1:1", Limits::default(), Some(files));
    let url = format!("wss://{}{STREAM_PATH}", service.address);
    run(async {
        let route = |extra_ca| {
            Route::Remote(RemoteRoute {
                url: url.clone(),
                proxy: None,
                extra_ca,
                limits: Limits::default(),
            })
        };
        let refused = Transport::connect(&route(None), None).await.unwrap_err();
        assert!(refused.to_string().starts_with("no trusted TLS connection"), "{refused}");
        Transport::connect(&route(extra_ca), None).await.unwrap();
    });
}

/// A proxy for one connection that tells what it was asked for.
async fn proxy(speak: &'static str, target: SocketAddr) -> (SocketAddr, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let (mut client, _) = listener.accept().await.unwrap();
            let asked = match speak {
                "socks5" => socks_target(&mut client).await,
                _ => connect_target(&mut client).await,
            };
            tell.send(asked).unwrap();
            let mut server = TcpStream::connect(target).await.unwrap();
            drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
        });
    });
    (address, told)
}

async fn connect_target(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    String::from_utf8(head).unwrap()
}

/// Bytes after their length, as SOCKS5 writes them.
async fn counted(client: &mut TcpStream) -> String {
    let mut text = vec![0; usize::from(client.read_u8().await.unwrap())];
    client.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

async fn socks_target(client: &mut TcpStream) -> String {
    client.read_u8().await.unwrap();
    let login = if counted(client).await.contains('\u{2}') {
        client.write_all(&[5, 2]).await.unwrap();
        client.read_u8().await.unwrap();
        let login = [counted(client).await, counted(client).await].join(" ");
        client.write_all(&[1, 0]).await.unwrap();
        login
    } else {
        client.write_all(&[5, 0]).await.unwrap();
        String::new()
    };
    let mut head = [0; 4];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 3, "the proxy resolves the name");
    let name = counted(client).await;
    client.read_u16().await.unwrap();
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    format!("{login} {name}")
}

#[test]
fn proxies_resolve_the_name_and_get_the_login() {
    let service = Service::start("http://127.0.0.1:1");
    run(async {
        // No such name exists, so only the proxy can have resolved it.
        for (speak, login, expected) in [
            ("socks5", "", "hidden.onion"),
            ("socks5", "user:p%40ss@", "user p@ss hidden.onion"),
            ("http", "", "CONNECT hidden.onion:80 "),
            ("http", "user:p%40ss@", "Proxy-Authorization: Basic dXNlcjpwQHNz\r\n"),
        ] {
            let (address, told) = proxy(speak, service.address).await;
            let proxy = Proxy::parse(&format!("{speak}://{login}{address}")).unwrap();
            assert!(!format!("{proxy:?}").contains("p@ss"), "{proxy:?}");
            let url = format!("ws://hidden.onion{STREAM_PATH}");
            let route = Route::Remote(RemoteRoute {
                url,
                proxy: Some(proxy),
                extra_ca: None,
                limits: Limits::default(),
            });
            Transport::connect(&route, None).await.unwrap();
            let asked = told.await.unwrap();
            assert!(asked.contains(expected), "{asked}");
        }
    });
}

#[test]
fn a_stream_in_the_clear_is_refused_away_from_this_machine() {
    run(async {
        let error = Transport::connect(&remote("ws://192.0.2.1/x"), None).await.unwrap_err();
        assert!(error.to_string().contains("not encrypted"), "{error}");
        let error = Transport::connect(&remote("https://example.org"), None).await.unwrap_err();
        assert!(error.to_string().contains("wss://"), "{error}");
    });
}

fn a_homeserver_is_discovered_by_its_url(on: On) {
    let base = on.shared().base.as_str();
    run(async {
        let options = GatewayOptions::default();
        let found = discover(&format!("{base}/"), &options).await.unwrap();
        let own = match on.kind() {
            Kind::Synapse => None,
            Kind::Serve => Some(format!("{}{STREAM_PATH}", base.replace("http", "ws"))),
        };
        assert_eq!(found, Discovered { homeserver: base.to_owned(), stream_url: own });
        let nobody = format!("http://127.0.0.1:{}", free_port());
        let error = discover(&nobody, &options).await.unwrap_err();
        assert!(error.to_string().contains("no homeserver"), "{error}");
    });
}

/// Answers every HTTPS request of `routes` with its status and body, until the test's process ends.
/// Gives its address and its certificate.
fn https(routes: &'static [(&'static str, &'static str, &'static str)]) -> (SocketAddr, PathBuf) {
    let files = certificate();
    let chain = CertificateDer::pem_file_iter(&files.certificates).unwrap();
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let config = ServerConfig::builder_with_provider(grotto::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        run(async {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Whoever does not trust us leaves in the middle.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap();
                let found = routes.iter().find(|route| route.0 == path);
                let (_, status, body) = found.unwrap_or(&("", "404 Not Found", "{}"));
                let body = body.replace("HERE", &address.to_string());
                let status = status.replace("HERE", &address.to_string());
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
            }
        });
    });
    (address, files.certificates)
}

const WELL_KNOWN: &str = "/.well-known/matrix/client";
const VERSIONS: (&str, &str, &str) = ("/_matrix/client/versions", "200 OK", r#"{"versions":[]}"#);

/// What discovery makes of the server with these answers.
async fn found(
    routes: &'static [(&'static str, &'static str, &'static str)],
) -> (SocketAddr, Result<Discovered, String>) {
    let (address, ca) = https(routes);
    let options = GatewayOptions { extra_ca: Some(ca), ..GatewayOptions::default() };
    let found = discover(&address.to_string(), &options).await;
    (address, found.map_err(|error| error.to_string()))
}

#[test]
fn a_server_name_leads_to_homeserver_and_stream_by_its_well_known_file() {
    run(async {
        let file = r#"{"m.homeserver":{"base_url":"https://HERE/"},
            "grotto.stream":{"url":"wss://stream.example/x"}}"#;
        let routes = Box::leak(Box::new([(WELL_KNOWN, "200 OK", file), VERSIONS]));
        let (address, known) = found(routes).await;
        let homeserver = format!("https://{address}");
        let stream_url = Some("wss://stream.example/x".to_owned());
        assert_eq!(known, Ok(Discovered { homeserver, stream_url }));

        // The file may be elsewhere; a homeserver may offer the stream itself.
        let (address, known) = found(&[
            (WELL_KNOWN, "302 Found\r\nLocation: /elsewhere", ""),
            ("/elsewhere", "200 OK", r#"{"m.homeserver":{"base_url":"https://HERE"}}"#),
            (
                "/_matrix/client/versions",
                "200 OK",
                r#"{"versions":[],"unstable_features":{"grotto.stream.v1":true}}"#,
            ),
        ])
        .await;
        let stream_url = Some(format!("wss://{address}{STREAM_PATH}"));
        assert_eq!(known.unwrap().stream_url, stream_url);

        // No such file: the server itself is asked.
        let (address, known) = found(&[VERSIONS]).await;
        assert_eq!(known.unwrap().homeserver, format!("https://{address}"));
    });
}

#[test]
fn a_well_known_file_that_is_wrong_or_leads_astray_is_not_followed() {
    run(async {
        let cases: [(&'static str, &'static str, &str); 6] = [
            ("200 OK", "<html>", "points to no usable homeserver"),
            ("200 OK", r#"{"m.homeserver":{"base_url":"http://evil.example"}}"#, "points to no"),
            ("200 OK", r#"{"m.homeserver":{"base_url":"file:///etc/passwd"}}"#, "points to no"),
            ("200 OK", r#"{"m.homeserver":{"base_url":"https://a:b@HERE"}}"#, "points to no"),
            ("200 OK", r#"{"m.homeserver":{"base_url":"https://127.0.0.1:1"}}"#, "no homeserver"),
            ("200 OK", r#"{"m.homeserver":{"base_url":"https://HERE/other"}}"#, "no homeserver"),
        ];
        for (status, file, words) in cases {
            let routes = Box::leak(Box::new([(WELL_KNOWN, status, file), VERSIONS]));
            let (_, known) = found(routes).await;
            assert!(known.as_ref().is_err_and(|said| said.contains(words)), "{file}: {known:?}");
        }
        // Into the clear, or round and round: as if there were no such file.
        for to in [
            "302 Found\r\nLocation: http://127.0.0.1:1/",
            "302 Found\r\nLocation: /.well-known/matrix/client",
        ] {
            let routes = Box::leak(Box::new([(WELL_KNOWN, to, ""), VERSIONS]));
            let (address, known) = found(routes).await;
            assert_eq!(known.unwrap().homeserver, format!("https://{address}"));
        }
        // A certificate that nobody vouches for is no server.
        let (address, _) = https(&[VERSIONS]);
        let known = discover(&address.to_string(), &GatewayOptions::default()).await;
        assert!(known.is_err(), "{known:?}");
    });
}
