//! A file system in memory that fails, or whose process dies, at a chosen operation, and that forgets after a loss of
//! power what nobody synced. The same seed forgets the same.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use lair_store::{FileFacts, FileKind, FileSystem, FolderEntry, OpenHow, StoreFile};

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This one operation fails.
    Fails(io::ErrorKind),
    /// From here on the disk is full: whatever needs space fails, until the fault is cleared.
    FullFromHere,
    /// The process dies before the operation: it and all later ones fail without effect.
    DiesBefore,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
    Link(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// As of the last sync.
    durable: Vec<u8>,
    modified_s: u64,
    locked_by: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, Node>,
    /// The names as of the last sync of their folders.
    durable: BTreeMap<PathBuf, Node>,
    inodes: Vec<Inode>,
    clock_s: u64,
    handle_count: u64,
    /// Operations since the fault was set.
    operation_count: usize,
    fault: Option<(usize, Fault)>,
}

/// The file system; clones are the same one.
#[derive(Clone, Default)]
pub struct SimFs(Arc<Mutex<State>>);

/// All of it at one moment.
#[derive(Clone)]
pub struct Snapshot(State);

impl fmt::Debug for SimFs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SimFs")
    }
}

/// Whether an operation needs room on the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Space,
    Nothing,
}

impl SimFs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics inside")
    }

    /// Sets the fault for the `index`-th operation from now on, or none.
    pub fn set_fault(&self, fault: Option<(usize, Fault)>) {
        let mut state = self.state();
        state.fault = fault;
        state.operation_count = 0;
    }

    /// How many operations came since [`set_fault`](SimFs::set_fault).
    pub fn operation_count(&self) -> usize {
        self.state().operation_count
    }

    /// Everything now, as if all was synced.
    pub fn snapshot(&self) -> Snapshot {
        let mut state = self.state().clone();
        state.durable = state.names.clone();
        for inode in &mut state.inodes {
            inode.durable = inode.bytes.clone();
            inode.locked_by = None;
        }
        Snapshot(state)
    }

    /// A file system as it was.
    pub fn at(snapshot: &Snapshot) -> SimFs {
        SimFs(Arc::new(Mutex::new(snapshot.0.clone())))
    }

    /// The machine after the process has died: its locks are gone, all else is there.
    pub fn after_kill(&self) -> SimFs {
        let mut state = self.state().clone();
        state.fault = None;
        state.inodes.iter_mut().for_each(|inode| inode.locked_by = None);
        SimFs(Arc::new(Mutex::new(state)))
    }

    /// The machine after a loss of power: of what was not synced, the seed chooses what is there.
    pub fn after_power_loss(&self, seed: u64) -> SimFs {
        let mut state = self.after_kill().state().clone();
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (names, durable) = (std::mem::take(&mut state.names), std::mem::take(&mut state.durable));
        let mut paths: Vec<&PathBuf> = names.keys().chain(durable.keys()).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            let (now, synced) = (names.get(path), durable.get(path));
            let chosen = if now == synced || random.next(2) == 0 { now } else { synced };
            let has_folder =
                path.parent().is_none_or(|parent| parent == Path::new("/") || state.names.contains_key(parent));
            if let Some(node) = chosen
                && has_folder
            {
                state.names.insert(path.clone(), node.clone());
            }
        }
        state.durable = state.names.clone();
        for inode in &mut state.inodes {
            if inode.bytes != inode.durable {
                inode.bytes = match random.next(3) {
                    0 => inode.durable.clone(),
                    1 => vec![0; inode.bytes.len()],
                    _ => inode.bytes[..random.next(inode.bytes.len() + 1)].to_vec(),
                };
            }
            inode.durable = inode.bytes.clone();
        }
        SimFs(Arc::new(Mutex::new(state)))
    }

    /// Changes a byte of a file behind everyone's back.
    pub fn damage(&self, path: &Path) {
        let mut state = self.state();
        let Some(Node::File(inode)) = state.names.get(path).cloned() else { panic!("no file {path:?}") };
        state.inodes[inode].bytes[0] ^= 1;
    }

    /// Counts an operation and lets the fault strike.
    fn operate(&self, needs: Needs) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let index = state.operation_count;
        state.operation_count += 1;
        match state.fault {
            Some((at, Fault::Fails(kind))) if at == index => Err(kind.into()),
            Some((at, Fault::FullFromHere)) if index >= at && needs == Needs::Space => {
                Err(io::ErrorKind::StorageFull.into())
            }
            Some((at, Fault::DiesBefore)) if index >= at => Err(io::Error::other("the process is dead")),
            _ => Ok(state),
        }
    }
}

/// xorshift64
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock_s += 1;
        self.clock_s
    }

    fn follow(&self, path: &Path) -> io::Result<&Node> {
        match self.names.get(path).ok_or(io::ErrorKind::NotFound)? {
            Node::Link(target) => self.follow(&path.parent().unwrap_or(Path::new("/")).join(target)),
            node => Ok(node),
        }
    }

    fn facts(&self, node: &Node) -> FileFacts {
        let (kind, inode) = match node {
            Node::Folder => (FileKind::Folder, None),
            Node::Link(_) => (FileKind::Link, None),
            Node::File(inode) => (FileKind::File, Some(*inode)),
        };
        FileFacts {
            kind,
            size_bytes: inode.map_or(0, |inode| self.inodes[inode].bytes.len() as u64),
            modified: inode.map(|inode| SystemTime::UNIX_EPOCH + Duration::from_secs(self.inodes[inode].modified_s)),
            identity: inode.map(|inode| (1, inode as u64)),
        }
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if parent == Path::new("/") || self.names.get(parent) == Some(&Node::Folder) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn children(&self, folder: &Path) -> Vec<PathBuf> {
        self.names.keys().filter(|path| path.parent() == Some(folder)).cloned().collect()
    }
}

impl FileSystem for SimFs {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Box<dyn StoreFile>> {
        let makes = matches!(how, OpenHow::CreateNew | OpenHow::UpdateOrCreate);
        let mut state = self.operate(if makes { Needs::Space } else { Needs::Nothing })?;
        let found = state.follow(path).ok().cloned();
        let inode = match (found, how) {
            (Some(_), OpenHow::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(inode)), _) => inode,
            (Some(_), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (None, OpenHow::Read | OpenHow::Update) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                state.check_parent(path)?;
                let modified_s = state.tick();
                state.inodes.push(Inode { modified_s, ..Inode::default() });
                let inode = state.inodes.len() - 1;
                state.names.insert(path.to_path_buf(), Node::File(inode));
                inode
            }
        };
        state.handle_count += 1;
        let handle = state.handle_count;
        drop(state);
        Ok(Box::new(SimFile { file_system: self.clone(), inode, handle }))
    }

    fn facts(&self, path: &Path) -> io::Result<FileFacts> {
        let state = self.operate(Needs::Nothing)?;
        let node = state.follow(path)?;
        Ok(state.facts(node))
    }

    fn facts_of_link(&self, path: &Path) -> io::Result<FileFacts> {
        let state = self.operate(Needs::Nothing)?;
        let node = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.facts(node))
    }

    fn read_folder(&self, path: &Path) -> io::Result<Vec<FolderEntry>> {
        let state = self.operate(Needs::Nothing)?;
        if state.names.get(path) != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entry = |path: PathBuf| FolderEntry { kind: state.facts(&state.names[&path]).kind, path };
        Ok(state.children(path).into_iter().map(entry).collect())
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        match self.operate(Needs::Nothing)?.names.get(path) {
            Some(Node::Link(target)) => Ok(target.clone()),
            Some(_) => Err(io::ErrorKind::InvalidInput.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.operate(Needs::Space)?;
        for folder in path.ancestors().filter(|folder| *folder != Path::new("/")) {
            state.names.entry(folder.to_path_buf()).or_insert(Node::Folder);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.operate(Needs::Nothing)?;
        state.check_parent(to)?;
        let node = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_path_buf(), node);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.operate(Needs::Space)?;
        state.check_parent(to)?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = state.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_path_buf(), node);
        Ok(())
    }

    fn clone_file(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        drop(self.operate(Needs::Space)?);
        Err(io::ErrorKind::Unsupported.into())
    }

    fn symbolic_link(&self, target: &Path, link: &Path) -> io::Result<()> {
        let mut state = self.operate(Needs::Space)?;
        state.check_parent(link)?;
        state.names.insert(link.to_path_buf(), Node::Link(target.to_path_buf()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.operate(Needs::Nothing)?;
        match state.names.get(path) {
            Some(Node::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            Some(_) => {
                state.names.remove(path);
                Ok(())
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.operate(Needs::Nothing)?;
        if state.names.get(path) != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !state.children(path).is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.names.remove(path);
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.operate(Needs::Nothing)?;
        state.durable.retain(|name, _| name.parent() != Some(path));
        for child in state.children(path) {
            let node = state.names[&child].clone();
            state.durable.insert(child, node);
        }
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> Option<u64> {
        None
    }
}

struct SimFile {
    file_system: SimFs,
    inode: usize,
    handle: u64,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.file_system.state();
        let locked_by = &mut state.inodes[self.inode].locked_by;
        if *locked_by == Some(self.handle) {
            *locked_by = None;
        }
    }
}

impl StoreFile for SimFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file_system.operate(Needs::Nothing)?.inodes[self.inode].bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.file_system.operate(Needs::Nothing)?;
        let bytes = state.inodes[self.inode].bytes.get(offset as usize..).unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// A write that fails has written half.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let outcome = self.file_system.operate(Needs::Space).map(drop);
        let is_dead = outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Other);
        let count = match outcome {
            Ok(()) => bytes.len(),
            Err(_) if is_dead => 0,
            Err(_) => bytes.len() / 2,
        };
        let mut state = self.file_system.state();
        let modified_s = state.tick();
        let inode = &mut state.inodes[self.inode];
        let end = offset as usize + count;
        if count > 0 {
            inode.bytes.resize(inode.bytes.len().max(end), 0);
            inode.bytes[offset as usize..end].copy_from_slice(&bytes[..count]);
            inode.modified_s = modified_s;
        }
        outcome
    }

    fn set_size(&mut self, size_bytes: u64) -> io::Result<()> {
        let mut state = self.file_system.operate(Needs::Nothing)?;
        state.inodes[self.inode].bytes.resize(size_bytes as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.file_system.operate(Needs::Nothing)?;
        let inode = &mut state.inodes[self.inode];
        inode.durable = inode.bytes.clone();
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.file_system.operate(Needs::Nothing)?;
        let locked_by = &mut state.inodes[self.inode].locked_by;
        let is_free = locked_by.is_none_or(|handle| handle == self.handle);
        if is_free {
            *locked_by = Some(self.handle);
        }
        Ok(is_free)
    }

    fn lock(&self) -> io::Result<()> {
        assert!(self.try_lock()?, "one thread waits for itself");
        Ok(())
    }
}
