//! URLs: encoded in one place, and kept to the hosts of the silo.

use anyhow::Result;
use reqwest::Url;

use crate::fault::Fault;

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(super) fn encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// Name and value pairs as a query string or form body.
pub(super) fn form(pairs: &[(String, String)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// A path template with each `{name}` filled in as one segment.
///
/// A value that cannot be a segment of its own (nothing, `.`, `..`) would name another resource,
/// and is refused.
pub(super) fn fill(template: &str, parts: &[(&str, String)]) -> Result<String> {
    let mut path = String::with_capacity(template.len() + 16);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| Fault::system(format!("the path {template} has no closing brace")))?;
        let value = parts.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        match value.map(String::as_str) {
            None => {
                let why = format!("the path {template} was sent without its `{name}`");
                return Err(Fault::system(why).into());
            }
            Some("" | "." | "..") => {
                let why = format!("the value for `{name}` cannot stand in the path {template}");
                return Err(Fault::config(why).into());
            }
            Some(value) => path.push_str(&encode(value)),
        }
        rest = after;
    }
    path.push_str(rest);
    Ok(path)
}

/// Where a silo is: its base URL, and the origins its own links may name.
#[derive(Debug, Clone)]
pub(super) struct Base {
    url: Url,
    aliases: Vec<Url>,
}

impl Base {
    /// Reads a base URL. Plain HTTP is for this machine only: it would show the credentials.
    pub(super) fn parse(text: &str, aliases: &[String]) -> Result<Base> {
        let parse = |text: &str| -> Result<Url> {
            let wrong = |why: &str| Fault::config(format!("`base_url` {why}"));
            let url = Url::parse(text).map_err(|_| wrong("is not a URL"))?;
            match url.scheme() {
                "https" => {}
                "http" if is_loopback(&url) => {}
                "http" => {
                    return Err(
                        wrong("must begin with https://: http:// would show the key").into()
                    );
                }
                _ => return Err(wrong("must begin with https://").into()),
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err(wrong("must not hold a user name or password").into());
            }
            if url.query().is_some() || url.fragment().is_some() {
                return Err(wrong("must not hold a query or fragment").into());
            }
            Ok(url)
        };
        let aliases = aliases.iter().map(|alias| parse(alias)).collect::<Result<_>>()?;
        Ok(Base { url: parse(text)?, aliases })
    }

    /// The host, for people.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or("the host")
    }

    /// The URL of a path, which is encoded already, with a query.
    pub(super) fn join(&self, path: &str, query: &[(String, String)]) -> Result<Url> {
        let base = self.url.as_str().trim_end_matches('/');
        let mut text = format!("{base}/{}", path.trim_start_matches('/'));
        if !query.is_empty() {
            text.push(if text.contains('?') { '&' } else { '?' });
            text.push_str(&form(query));
        }
        let url = Url::parse(&text).map_err(|_| Fault::system("a path makes no URL"))?;
        if url.origin() == self.url.origin() { Ok(url) } else { Err(self.elsewhere(&url)) }
    }

    /// The URL that a link in an answer to a request for `from` names: absolute or relative, and
    /// never on another host.
    pub(super) fn follow(&self, from: &Url, link: &str) -> Result<Url> {
        let mut url = from
            .join(link)
            .map_err(|_| Fault::system(format!("{} gave a link that is no URL", self.host())))?;
        if url.origin() == self.url.origin() {
            return Ok(url);
        }
        if !self.aliases.iter().any(|alias| alias.origin() == url.origin()) {
            return Err(self.elsewhere(&url));
        }
        // The vendor's own name for what the base URL reaches by another way.
        let mut here = self.url.clone();
        here.set_path(&format!("{}{}", self.url.path().trim_end_matches('/'), url.path()));
        here.set_query(url.query());
        std::mem::swap(&mut url, &mut here);
        Ok(url)
    }

    /// The base itself, which links are relative to before any request was sent.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// A URL on a foreign host, for a file that the vendor keeps elsewhere. Nothing that proves
    /// who asks is ever sent there.
    pub(super) fn foreign(&self, link: &str) -> Result<Url> {
        let url = Url::parse(link)
            .map_err(|_| Fault::system(format!("{} gave a link that is no URL", self.host())))?;
        let allowed = url.scheme() == "https"
            || url.scheme() == "http" && is_loopback(&url) && is_loopback(&self.url);
        if allowed { Ok(url) } else { Err(self.elsewhere(&url)) }
    }

    fn elsewhere(&self, url: &Url) -> anyhow::Error {
        let there = url.host_str().unwrap_or("another host");
        Fault::system(format!(
            "{} points at {}://{there}, which this connector does not follow",
            self.host(),
            url.scheme()
        ))
        .into()
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> Base {
        Base::parse(text, &["https://api.vendor.example".to_owned()]).unwrap()
    }

    fn part(value: &str) -> Vec<(&'static str, String)> {
        vec![("id", value.to_owned())]
    }

    #[test]
    fn a_part_of_a_path_is_one_segment_whatever_it_holds() {
        for value in ["a/b", "a?b", "a#b", "../x", "%2e%2e", "é", " ", "a+b&c=d"] {
            let path = fill("things/{id}/notes", &part(value)).unwrap();
            let url = base("https://h.example/v1").join(&path, &[]).unwrap();
            let segments: Vec<_> = url.path_segments().unwrap().collect();
            assert_eq!(segments.len(), 4, "{value} -> {url}");
            assert_eq!(segments[3], "notes");
            assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
        }
    }

    #[test]
    fn a_part_that_would_name_another_resource_is_refused() {
        for value in ["", ".", ".."] {
            assert!(fill("things/{id}", &part(value)).is_err());
        }
        assert!(fill("things/{id}", &[]).is_err());
    }

    #[test]
    fn query_values_are_encoded_once() {
        let pairs = [("a b".to_owned(), "x&y=+%/é".to_owned())];
        let url = base("https://h.example").join("p", &pairs).unwrap();
        assert_eq!(url.as_str(), "https://h.example/p?a%20b=x%26y%3D%2B%25%2F%C3%A9");
    }

    #[test]
    fn links_stay_on_the_silos_hosts() {
        let base = base("https://proxy.example/intercom");
        let from = base.join("contacts", &[]).unwrap();
        let follow = |link: &str| base.follow(&from, link).map(String::from);
        assert_eq!(follow("?page=2").unwrap(), "https://proxy.example/intercom/contacts?page=2");
        assert_eq!(
            follow("https://api.vendor.example/contacts?page=2").unwrap(),
            "https://proxy.example/intercom/contacts?page=2"
        );
        for link in ["https://evil.example/", "http://proxy.example/", "//evil.example", "file:///"]
        {
            assert!(follow(link).is_err(), "{link}");
        }
    }

    #[test]
    fn a_base_url_that_would_show_the_key_is_refused() {
        for text in
            ["http://h.example", "ftp://h.example", "https://u:p@h.example", "https://h/?a=b", "x"]
        {
            let error = Base::parse(text, &[]).unwrap_err().to_string();
            assert!(error.contains("`base_url`"), "{error}");
        }
        for text in
            ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://h.example/v1"]
        {
            assert!(Base::parse(text, &[]).is_ok(), "{text}");
        }
    }
}
