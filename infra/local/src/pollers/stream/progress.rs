//! Progress of a function in the table's stream: one reader for each shard.

use crate::dynamodb::Shard;

/// Marker in the place of a sequence number: the shard has been read to its end.
const ENDED: &str = "ended";

/// Readers of all known shards. The checkpoint stores one line a shard, with the sequence number of the last
/// consumed record.
#[derive(Debug, Default)]
pub struct Progress {
    readers: Vec<Reader>,
}

/// Reader of one shard.
#[derive(Clone, Debug)]
pub struct Reader {
    pub shard: Shard,
    /// Sequence number of the last consumed record.
    pub after: Option<String>,
    pub ended: bool,
    /// Iterator of the next read; `None` at first and after a failure.
    pub iterator: Option<String>,
    /// Number of records to read if less than a whole batch.
    pub size: Option<u32>,
    pub attempt: u32,
}

impl Reader {
    fn new(shard: Shard) -> Self {
        Self { shard, after: None, ended: false, iterator: None, size: None, attempt: 0 }
    }
}

impl Progress {
    /// Parses a checkpoint. A line of another form is skipped, and its shard is read again from the beginning.
    pub fn parse(checkpoint: &str) -> Self {
        let reader = |line: &str| {
            let (id, position) = line.split_once(' ')?;
            let mut reader = Reader::new(Shard { id: id.to_owned(), parent: None });
            match position {
                ENDED => reader.ended = true,
                _ => reader.after = Some(position.to_owned()),
            }
            Some(reader)
        };
        Self { readers: checkpoint.lines().filter_map(reader).collect() }
    }

    pub fn checkpoint(&self) -> String {
        let line = |reader: &Reader| {
            let position = if reader.ended { Some(ENDED) } else { reader.after.as_deref() };
            Some(format!("{} {}\n", reader.shard.id, position?))
        };
        self.readers.iter().filter_map(line).collect()
    }

    /// Adds readers for new shards and removes the readers of shards that no longer exist.
    pub fn list(&mut self, shards: Vec<Shard>) {
        let known = std::mem::take(&mut self.readers);
        let reader = |shard: Shard| match known.iter().find(|reader| reader.shard.id == shard.id) {
            Some(reader) => Reader { shard, ..reader.clone() },
            None => Reader::new(shard),
        };
        self.readers = shards.into_iter().map(reader).collect();
    }

    /// Returns the indexes of the readers that may read on. A shard is readable once its parent has ended or no
    /// longer exists.
    pub fn readable(&self) -> Vec<usize> {
        let unread = |id: &str| self.readers.iter().any(|reader| reader.shard.id == id && !reader.ended);
        let ready = |reader: &Reader| !reader.ended && !reader.shard.parent.as_deref().is_some_and(unread);
        let places = self.readers.iter().enumerate();
        places.filter(|(_, reader)| ready(reader)).map(|(place, _)| place).collect()
    }

    pub fn reader(&mut self, place: usize) -> &mut Reader {
        &mut self.readers[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, parent: Option<&str>) -> Shard {
        Shard { id: id.to_owned(), parent: parent.map(str::to_owned) }
    }

    #[test]
    fn a_shard_is_read_after_its_parent() {
        let mut progress = Progress::default();
        assert!(progress.readable().is_empty());
        let shards = vec![shard("c", Some("b")), shard("b", Some("a")), shard("d", Some("gone"))];
        progress.list([vec![shard("a", None)], shards.clone()].concat());
        assert_eq!(progress.readable(), [0, 3]);
        progress.reader(0).ended = true;
        assert_eq!(progress.readable(), [2, 3]);
        progress.reader(2).after = Some("7".to_owned());
        assert_eq!(progress.checkpoint(), "a ended\nb 7\n");

        // The parent has been trimmed, and the process restarts.
        let mut progress = Progress::parse(&progress.checkpoint());
        progress.list(shards);
        assert_eq!(progress.readable(), [1, 2]);
        assert_eq!(progress.reader(1).after.as_deref(), Some("7"));
        assert_eq!(progress.checkpoint(), "b 7\n");
    }

    #[test]
    fn a_checkpoint_of_another_form_says_nothing() {
        assert_eq!(Progress::parse("100000000000000000042").checkpoint(), "");
        assert_eq!(Progress::parse("").checkpoint(), "");
    }
}
