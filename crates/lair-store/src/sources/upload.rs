//! Blobs on their way to a registry: not sent if they are there, mounted if another repository has them, sent whole if
//! they are small, in chunks if not, so that a cut costs one chunk.

use std::io::{self, Read};

use ureq::http::{Method, Uri};

use super::SourceError;
use super::http::{Answer, Payload, parse};
use super::registry::{Action, Registry};
use crate::digest::Digest;
use crate::file_system::StoreFile;
use crate::progress::Progress;
use crate::transfer::connection::wait_before_next;

/// A chunk of an upload; what is not longer goes in one request.
const CHUNK_BYTES: u64 = 32 << 20;

/// How a blob came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there.
    Present,
    /// Another repository of the registry had it.
    Mounted,
    /// It was sent.
    Sent,
}

/// A blob that is to be sent.
pub(crate) struct Upload<'u> {
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) file: &'u dyn StoreFile,
}

impl Registry {
    /// Brings a blob to `repository`. `mount_from` is another repository there that may have it.
    pub(crate) fn put_blob(
        &self,
        repository: &str,
        upload: &Upload<'_>,
        mount_from: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<Uploaded, SourceError> {
        if self.has_blob(repository, &upload.digest)? {
            return Ok(Uploaded::Present);
        }
        let mut tries = 0;
        loop {
            let error = match self.put_blob_once(repository, upload, mount_from, progress) {
                Ok(uploaded) => return Ok(uploaded),
                Err(error) => error,
            };
            tries += 1;
            let transfer = self.transfer();
            let Some(wait) = wait_before_next(&error, tries, transfer) else { return Err(error) };
            progress.note(&format!("registry {}: {error}; trying again", self.host()));
            std::thread::sleep(wait);
        }
    }

    fn put_blob_once(
        &self,
        repository: &str,
        upload: &Upload<'_>,
        mount_from: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<Uploaded, SourceError> {
        let begun = self.begin_upload(repository, &upload.digest, mount_from)?;
        if begun.status == 201 {
            return Ok(Uploaded::Mounted);
        }
        let mut location = self.upload_location(&begun)?;
        let mut sent = 0;
        while upload.size_bytes - sent > CHUNK_BYTES {
            location = self.send_chunk(repository, upload, &location, sent, progress)?;
            sent += CHUNK_BYTES;
        }
        let query = if location.query().is_some() { '&' } else { '?' };
        let last: Uri = parse(&format!("{location}{query}digest={}", upload.digest))?;
        let range = sent..upload.size_bytes;
        let mut reader = Reading { file: upload.file, position: range.start, end: range.end, progress };
        let length = range.end - range.start;
        let headers = [("content-type", "application/octet-stream")];
        let answer = self.ask_once(Method::PUT, &last, &headers, repository, Payload::Reader(&mut reader, length))?;
        if answer.is_success() { Ok(Uploaded::Sent) } else { Err(answer.into_error()) }
    }

    fn begin_upload(&self, repository: &str, digest: &Digest, mount_from: Option<&str>) -> Result<Answer, SourceError> {
        let mount = mount_from.map(|from| format!("?mount={digest}&from={from}")).unwrap_or_default();
        let url = parse(&format!("{}/v2/{repository}/blobs/uploads/{mount}", self.base()))?;
        let answer = self.ask(Method::POST, &url, &[], repository, Action::Push, || Payload::Bytes(&[]))?;
        match answer.status {
            201 | 202 => Ok(answer),
            _ => Err(answer.into_error()),
        }
    }

    fn send_chunk(
        &self,
        repository: &str,
        upload: &Upload<'_>,
        location: &Uri,
        sent: u64,
        progress: &mut dyn Progress,
    ) -> Result<Uri, SourceError> {
        let end = sent + CHUNK_BYTES;
        let range = format!("{sent}-{}", end - 1);
        let headers = [("content-type", "application/octet-stream"), ("content-range", range.as_str())];
        let mut reader = Reading { file: upload.file, position: sent, end, progress };
        let payload = Payload::Reader(&mut reader, CHUNK_BYTES);
        let answer = self.ask_once(Method::PATCH, location, &headers, repository, payload)?;
        if answer.status != 202 {
            return Err(answer.into_error());
        }
        self.upload_location(&answer)
    }
}

/// A range of a file that is sent, and told while it is.
struct Reading<'r> {
    file: &'r dyn StoreFile,
    position: u64,
    end: u64,
    progress: &'r mut dyn Progress,
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min((self.end - self.position) as usize);
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(self.position, &mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += count as u64;
        self.progress.advanced(count as u64);
        Ok(count)
    }
}
