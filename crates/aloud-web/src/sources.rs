//! Where a browser has bytes: behind a URL, in a `Blob` or `File`, in the origin's private file system.
//!
//! | JavaScript hands over | read by |
//! |---|---|
//! | a string or a `URL` | HTTP requests with a `Range` |
//! | a `Blob` or a `File` | `slice(…).arrayBuffer()` |
//! | a `FileSystemFileHandle` | its `getFile()`, then like a `File` |
//!
//! All of them work on a page and in a worker.

use aloud::{ByteSource, FormatError};
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, File, FileSystemFileHandle, Request, RequestInit, Response, Url};

#[wasm_bindgen]
extern "C" {
    // The global one: `Window` and workers each have their own in web-sys.
    #[wasm_bindgen(catch)]
    fn fetch(request: &Request) -> Result<Promise, JsValue>;
}

/// A file that JavaScript named or handed over.
#[derive(Debug)]
pub enum WebSource {
    /// Behind a URL.
    Url(UrlSource),
    /// In a `Blob`.
    Blob(BlobSource),
}

impl WebSource {
    /// Opens what JavaScript means by a file.
    ///
    /// # Errors
    /// If it is none of the above, or cannot be read.
    pub async fn open(from: &JsValue) -> Result<WebSource, FormatError> {
        if let Some(url) = from.as_string() {
            return UrlSource::open(&url).await.map(WebSource::Url);
        }
        if let Some(url) = from.dyn_ref::<Url>() {
            return UrlSource::open(&url.href()).await.map(WebSource::Url);
        }
        if let Some(handle) = from.dyn_ref::<FileSystemFileHandle>() {
            return BlobSource::of_handle(handle).await.map(WebSource::Blob);
        }
        match from.dyn_ref::<Blob>() {
            Some(blob) => Ok(WebSource::Blob(BlobSource::new(blob.clone()))),
            None => {
                let found = from.js_typeof().as_string().unwrap_or_default();
                let reason = format!("expected a URL, a Blob, a File or a FileSystemFileHandle, found: {found}");
                Err(FormatError::read("file", 0, 0, reason))
            }
        }
    }
}

impl ByteSource for WebSource {
    fn len(&self) -> u64 {
        match self {
            WebSource::Url(source) => source.len(),
            WebSource::Blob(source) => source.len(),
        }
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        match self {
            WebSource::Url(source) => source.read_at(offset, buf).await,
            WebSource::Blob(source) => source.read_at(offset, buf).await,
        }
    }

    fn name(&self) -> &str {
        match self {
            WebSource::Url(source) => source.name(),
            WebSource::Blob(source) => source.name(),
        }
    }
}

/// A file behind a URL, read by HTTP ranges.
#[derive(Debug)]
pub struct UrlSource {
    url: String,
    len: u64,
}

impl UrlSource {
    /// Asks for the first byte, which tells the length and whether the server knows ranges.
    ///
    /// # Errors
    /// If the file is not there, or the server or its length cannot be had.
    pub async fn open(url: &str) -> Result<UrlSource, FormatError> {
        match probe(url).await {
            Ok(len) => Ok(UrlSource { url: url.to_owned(), len }),
            Err(reason) => Err(FormatError::read(url, 0, 1, reason)),
        }
    }
}

impl ByteSource for UrlSource {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        let end = end_of(&self.url, offset, buf.len(), self.len)?;
        if buf.is_empty() {
            return Ok(());
        }
        let read = read_range(&self.url, offset, end - 1, self.len, buf).await;
        read.map_err(|reason| FormatError::read(&self.url, offset, buf.len(), reason))
    }

    fn name(&self) -> &str {
        &self.url
    }
}

/// A `Blob` or `File`.
#[derive(Debug)]
pub struct BlobSource {
    name: String,
    blob: Blob,
}

impl BlobSource {
    /// Of a `Blob`; a `File` brings its name.
    #[must_use]
    pub fn new(blob: Blob) -> BlobSource {
        let name = blob.dyn_ref::<File>().map_or_else(|| "blob".to_owned(), File::name);
        BlobSource { name, blob }
    }

    /// Of a file that was picked, or lies in the origin's private file system.
    ///
    /// # Errors
    /// If it is gone, or may not be read.
    pub async fn of_handle(handle: &FileSystemFileHandle) -> Result<BlobSource, FormatError> {
        let file = JsFuture::from(handle.get_file()).await;
        let file = file.map_err(|e| FormatError::read(&handle.name(), 0, 0, reason_of(&e)))?;
        Ok(BlobSource::new(file.unchecked_into()))
    }
}

impl ByteSource for BlobSource {
    fn len(&self) -> u64 {
        self.blob.size() as u64
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        let end = end_of(&self.name, offset, buf.len(), self.len())?;
        let read = async {
            // Lengths of files lie far below 2^53, up to which f64 is exact.
            let part = self.blob.slice_with_f64_and_f64(offset as f64, end as f64).map_err(|e| reason_of(&e))?;
            copy_all(part.array_buffer(), buf).await
        };
        read.await.map_err(|reason| FormatError::read(&self.name, offset, buf.len(), reason))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// All of a small file, if it is there.
///
/// # Errors
/// If it is there and cannot be read, or the server is not reached.
pub async fn fetch_whole(url: &str) -> Result<Option<Vec<u8>>, FormatError> {
    let read = async {
        let response = request("GET", url, None).await?;
        if response.status() == 404 {
            discard(&response);
            return Ok(None);
        }
        if !response.ok() {
            discard(&response);
            return Err(format!("status {} {}", response.status(), response.status_text()));
        }
        let bytes = JsFuture::from(response.array_buffer().map_err(|e| reason_of(&e))?).await;
        Ok(Some(Uint8Array::new(&bytes.map_err(|e| reason_of(&e))?).to_vec()))
    };
    read.await.map_err(|reason: String| FormatError::read(url, 0, 0, reason))
}

/// The end of a range, which must lie in the file.
fn end_of(name: &str, offset: u64, len_bytes: usize, file_bytes: u64) -> Result<u64, FormatError> {
    offset.checked_add(len_bytes as u64).filter(|&end| end <= file_bytes).ok_or_else(|| {
        FormatError::read(name, offset, len_bytes, format!("the range ends past the last of {file_bytes} bytes"))
    })
}

/// The file's length.
async fn probe(url: &str) -> Result<u64, String> {
    let response = request("GET", url, Some((0, 0))).await?;
    let status = response.status();
    let range = header(&response, "content-range");
    discard(&response);
    match (status, range.as_deref().and_then(ContentRange::parse)) {
        (206, Some(ContentRange { total: Some(total), .. })) => Ok(total),
        // Another origin's header, unless its server exposes it to pages; the length it always does.
        (206, _) => {
            let head = request("HEAD", url, None).await?;
            let length = header(&head, "content-length").and_then(|text| text.parse().ok());
            let way_out = "have the server send `Access-Control-Expose-Headers: Content-Range`";
            length.ok_or_else(|| format!("the server does not tell the file's length; {way_out}"))
        }
        (416, _) if range.as_deref() == Some("bytes */0") => Ok(0),
        _ => Err(refusal(&response)),
    }
}

async fn read_range(url: &str, first: u64, last: u64, total: u64, buf: &mut [u8]) -> Result<(), String> {
    let response = request("GET", url, Some((first, last))).await?;
    if response.status() != 206 {
        discard(&response);
        return Err(refusal(&response));
    }
    if let Some(text) = header(&response, "content-range") {
        let asked = ContentRange { first, last, total: Some(total) };
        if !ContentRange::parse(&text).is_some_and(|sent| sent.answers(asked)) {
            discard(&response);
            return Err(format!("expected `bytes {first}-{last}/{total}`, the server sent `{text}`"));
        }
    }
    copy_all(response.array_buffer().map_err(|e| reason_of(&e))?, buf).await
}

async fn request(method: &str, url: &str, range: Option<(u64, u64)>) -> Result<Response, String> {
    let init = RequestInit::new();
    init.set_method(method);
    let request = Request::new_with_str_and_init(url, &init).map_err(|e| reason_of(&e))?;
    if let Some((first, last)) = range {
        request.headers().set("range", &format!("bytes={first}-{last}")).map_err(|e| reason_of(&e))?;
    }
    // What failed, browsers keep from pages.
    let failed = |e: JsValue| {
        format!("{}: the server was not reached, or does not let pages of this origin read (CORS)", reason_of(&e))
    };
    JsFuture::from(fetch(&request).map_err(failed)?).await.map(JsCast::unchecked_into).map_err(failed)
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).ok().flatten()
}

/// Ends a response whose body nobody reads: a server that ignores ranges sends the whole file.
fn discard(response: &Response) {
    if let Some(body) = response.body() {
        // Whether the rest was really stopped concerns nobody.
        wasm_bindgen_futures::spawn_local(async move {
            let _ = JsFuture::from(body.cancel()).await;
        });
    }
}

fn refusal(response: &Response) -> String {
    match response.status() {
        200 => "the server ignores `Range` (status 200 instead of 206); serve the file from one that knows ranges, or \
                download it and open it from disk"
            .to_owned(),
        404 => "there is no such file (status 404)".to_owned(),
        status => format!("status {status} {} instead of 206", response.status_text()).replace("  ", " "),
    }
}

/// Fills `buf` with all of an `ArrayBuffer` to come.
async fn copy_all(bytes: Promise, buf: &mut [u8]) -> Result<(), String> {
    let bytes = Uint8Array::new(&JsFuture::from(bytes).await.map_err(|e| reason_of(&e))?);
    if bytes.length() as usize != buf.len() {
        return Err(format!("expected {} bytes, found {}", buf.len(), bytes.length()));
    }
    bytes.copy_to(buf);
    Ok(())
}

fn reason_of(thrown: &JsValue) -> String {
    match thrown.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{thrown:?}"),
    }
}

/// `Content-Range: bytes 0-99/320`, or with `*` for an unknown total (RFC 9110, section 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ContentRange {
    first: u64,
    last: u64,
    total: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<ContentRange> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        Some(ContentRange { first: first.parse().ok()?, last: last.parse().ok()?, total })
    }

    /// Another total would be another file: one that changed under our hands.
    fn answers(self, asked: ContentRange) -> bool {
        let same_total = self.total.is_none() || self.total == asked.total;
        (self.first, self.last) == (asked.first, asked.last) && same_total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_and_compared() {
        let asked = ContentRange { first: 10, last: 19, total: Some(320) };
        for (text, answers) in [
            ("bytes 10-19/320", Some(true)),
            ("bytes 10-19/*", Some(true)),
            ("bytes 10-19/321", Some(false)),
            ("bytes 0-9/320", Some(false)),
            ("bytes 10-18/320", Some(false)),
            ("bytes */320", None),
            ("bytes 10-19", None),
            ("bytes 10-99999999999999999999/320", None),
            ("10-19/320", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(text).map(|sent| sent.answers(asked)), answers, "{text}");
        }
    }

    #[test]
    fn ranges_end_in_the_file() {
        assert_eq!(end_of("f", 300, 20, 320).unwrap(), 320);
        for (offset, len) in [(300, 21), (321, 0), (u64::MAX, 1)] {
            assert!(end_of("f", offset, len, 320).unwrap_err().to_string().contains("past the last of 320 bytes"));
        }
    }
}
