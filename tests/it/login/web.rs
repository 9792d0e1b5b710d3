//! Enough of HTTP for tests: servers that answer as a test likes, and a browser.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use url::Url;

use crate::rig::PATIENCE;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// By name in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    /// The path alone.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// The fields of the query or, of a `POST`, of the form.
    pub(super) fn fields(&self) -> BTreeMap<String, String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let form = url::form_urlencoded::parse(&self.body);
        url::form_urlencoded::parse(query.as_bytes())
            .chain(form)
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    pub(super) fn redirect(to: &str) -> Self {
        let headers = vec![("Location".to_owned(), to.to_owned())];
        Self { status: 302, headers, body: Vec::new() }
    }
}

/// Serves on 127.0.0.1 for the life of this process; where `answer` has none, the connection just
/// ends. Gives the base URL.
pub(super) fn serve(answer: impl Fn(Asked) -> Option<Answer> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || one(stream, &*answer));
        }
    });
    base
}

/// One request of one connection.
fn one(stream: TcpStream, answer: &dyn Fn(Asked) -> Option<Answer>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = answer(Asked { method, target, headers, body })?;
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut stream = stream;
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&answer.body).ok()
}

/// Makes a request as it is, following nothing.
pub(super) fn ask(base: &str, asked: &Asked) -> Option<Answer> {
    drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let none = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().no_proxy().redirect(none).build().unwrap();
        let method = reqwest::Method::from_bytes(asked.method.as_bytes()).unwrap();
        let mut request = client.request(method, format!("{base}{}", asked.target));
        request = request.timeout(PATIENCE).body(asked.body.clone());
        for (name, value) in &asked.headers {
            if !["host", "content-length", "connection", "accept-encoding"].contains(&name.as_str())
            {
                request = request.header(name, value);
            }
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let names = ["content-type", "location", "set-cookie", "retry-after"];
        let headers = response.headers().iter().filter(|(name, _)| names.contains(&name.as_str()));
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let body = response.bytes().await.ok()?.to_vec();
        Some(Answer { status, headers, body })
    })
}

/// A browser without a face: keeps cookies, follows redirects, takes the first link that a page has
/// to `ends_at`. Gives the address at which it ends.
pub(super) fn browse(from: &str, ends_at: &str) -> String {
    let mut url = Url::parse(from).unwrap();
    let mut cookies: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..20 {
        if url.as_str().starts_with(ends_at) {
            return url.to_string();
        }
        let jar: Vec<String> =
            cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let base = url.origin().ascii_serialization();
        let target = url.as_str().strip_prefix(&base).unwrap().to_owned();
        let headers = BTreeMap::from([("cookie".to_owned(), jar.join("; "))]);
        let asked = Asked { method: "GET".to_owned(), target, headers, body: Vec::new() };
        let page = ask(&base, &asked).unwrap();
        for (name, value) in &page.headers {
            if name == "set-cookie" {
                let (name, value) = value.split(';').next().unwrap().split_once('=').unwrap();
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let location = page.headers.iter().find(|(name, _)| name == "location");
        let text = String::from_utf8_lossy(&page.body).into_owned();
        let next = match location {
            Some((_, to)) => to.clone(),
            None => link(&text, ends_at).unwrap_or_else(|| panic!("{url} leads nowhere: {text}")),
        };
        url = url.join(&next).unwrap();
    }
    panic!("too many redirects from {from}");
}

/// The first `href` of a page that leads to `to`.
fn link(page: &str, to: &str) -> Option<String> {
    let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut links = links.map(|link| link.replace("&amp;", "&"));
    links.find(|link| link.starts_with(to))
}
