//! Recognizes compressed files by their first bytes: zstd is decompressed, gzip is left to [`super::cut`],
//! and every other known form is refused by name.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::Failure;

/// Enough to see the `ustar` of a tar header.
const SNIFFED_BYTES: usize = 512;

/// A zstd frame, and frames of it that a decoder skips: 0x184D2A50 to 0x184D2A5F, little-endian.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// A form of file that is not records: its name, its first bytes, and how to get at the records.
struct Form {
    name: &'static str,
    magic: &'static [u8],
    advice: &'static str,
}

const FORMS: [Form; 18] = [
    Form { name: "bzip2", magic: b"BZh", advice: "bzcat FILE | logpushd push URL -" },
    Form {
        name: "xz",
        magic: &[0xfd, b'7', b'z', b'X', b'Z', 0],
        advice: "xzcat FILE | logpushd push URL -",
    },
    Form { name: "lzma", magic: &[0x5d, 0, 0], advice: "xzcat FILE | logpushd push URL -" },
    Form { name: "lzip", magic: b"LZIP\x01", advice: "lzip -dc FILE | logpushd push URL -" },
    Form { name: "zip", magic: b"PK\x03\x04", advice: "unzip -p FILE | logpushd push URL -" },
    Form { name: "an empty zip", magic: b"PK\x05\x06", advice: "it has nothing to send" },
    Form {
        name: "7z",
        magic: &[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c],
        advice: "7z x -so FILE | logpushd push URL -",
    },
    Form {
        name: "rar",
        magic: b"Rar!\x1a\x07",
        advice: "unrar p -inul FILE | logpushd push URL -",
    },
    Form {
        name: "lz4",
        magic: &[0x04, 0x22, 0x4d, 0x18],
        advice: "lz4cat FILE | logpushd push URL -",
    },
    Form {
        name: "lz4 of the old form",
        magic: &[0x02, 0x21, 0x4c, 0x18],
        advice: "lz4cat FILE | logpushd push URL -",
    },
    Form {
        name: "framed snappy",
        magic: b"\xff\x06\x00\x00sNaPpY",
        advice: "snzip -dc FILE | logpushd push URL -",
    },
    Form {
        name: "compress (.Z)",
        magic: &[0x1f, 0x9d],
        advice: "uncompress -c FILE | logpushd push URL -",
    },
    Form {
        name: "lzop",
        magic: &[0x89, b'L', b'Z', b'O', 0],
        advice: "lzop -dc FILE | logpushd push URL -",
    },
    Form {
        name: "zlib",
        magic: &[0x78, 0x9c],
        advice: "zlib-flate -uncompress < FILE | logpushd push URL -",
    },
    Form { name: "Parquet", magic: b"PAR1\x15", advice: "convert it to one JSON object per line" },
    Form { name: "Avro", magic: b"Obj\x01", advice: "avrocat FILE | logpushd push URL -" },
    Form {
        name: "UTF-16 text",
        magic: &[0xff, 0xfe],
        advice: "iconv -f utf-16 -t utf-8 FILE | logpushd push URL -",
    },
    Form {
        name: "UTF-16 text",
        magic: &[0xfe, 0xff],
        advice: "iconv -f utf-16 -t utf-8 FILE | logpushd push URL -",
    },
];

/// What a tar header has after the name, the mode, the owner, the size and the time.
const TAR_AT: usize = 257;
const TAR: &[u8] = b"ustar";

/// Returns a reader of the contents of `from`, decompressed if that is zstd.
///
/// # Errors
/// It cannot be read, or is of a form that cannot be sent.
pub(super) fn open<'a>(mut from: impl Read + 'a) -> Result<Box<dyn Read + 'a>, Failure> {
    let start = sniff(&mut from)?;
    refuse(&start)?;
    let is_zstd = start.starts_with(&ZSTD) || is_skippable(&start);
    let whole = Cursor::new(start).chain(from);
    if !is_zstd {
        return Ok(Box::new(whole));
    }
    let mut plain = BufReader::new(Zstd(zstd::stream::read::Decoder::new(whole)?));
    // The same archive may be inside; without its magic number nothing else is.
    refuse(plain.fill_buf()?)?;
    Ok(Box::new(plain))
}

/// Refuses what starts like a file that holds no lines of records.
///
/// # Errors
/// It names the form, and how to get at the records.
pub(super) fn refuse(start: &[u8]) -> Result<(), Failure> {
    let form = FORMS.iter().find(|form| start.starts_with(form.magic));
    // Three letters that a record of text may begin with as well.
    let form = form.filter(|form| form.name != "bzip2" || is_bzip2(start));
    let (name, advice) = match form {
        Some(form) => (form.name, form.advice),
        None if start.get(TAR_AT..).is_some_and(|rest| rest.starts_with(TAR)) => {
            ("a tar archive", "tar -xOf FILE | logpushd push URL -")
        }
        None => return Ok(()),
    };
    Err(Failure::Flaw(format!(
        "this is {name}, which is not read; files may be plain, gzip or zstd: {advice}"
    )))
}

/// `BZh`, the level, and then a block or the end, each of which has a number of six bytes.
fn is_bzip2(start: &[u8]) -> bool {
    let rest = start.get(3..).unwrap_or_default();
    let marks: [&[u8]; 2] =
        [&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
    matches!(rest.first(), Some(b'1'..=b'9'))
        && marks.iter().any(|mark| rest.get(1..).unwrap_or_default().starts_with(mark))
}

fn is_skippable(start: &[u8]) -> bool {
    matches!(start.first(), Some(0x50..=0x5f))
        && start.get(1..).unwrap_or_default().starts_with(&SKIPPABLE)
}

/// Reads until the form can be told. A slow pipe is not waited for once it holds a line.
fn sniff(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = vec![0; SNIFFED_BYTES];
    let mut filled = 0;
    loop {
        match from.read(start.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled > 16 && start.get(..filled).is_some_and(|start| start.contains(&b'\n')) {
            break;
        }
    }
    start.truncate(filled);
    Ok(start)
}

/// Says in its errors that the file is damaged.
struct Zstd<R: Read>(zstd::stream::read::Decoder<'static, BufReader<R>>);

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let what = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the zstd data ends in the middle".to_owned(),
                _ => format!("the zstd data is damaged: {error}"),
            };
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut plain = Vec::new();
        let mut from = open(bytes).map_err(|failure| failure.to_string())?;
        from.read_to_end(&mut plain).map_err(|error| error.to_string())?;
        Ok(plain)
    }

    fn zstd(plain: &[u8]) -> Vec<u8> {
        zstd::encode_all(plain, 3).unwrap()
    }

    /// A frame that a decoder passes over.
    fn skippable(number: u8) -> Vec<u8> {
        [&[0x50 + number, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"notes"].concat()
    }

    #[test]
    fn zstd_is_read_whatever_its_frames_are() {
        let (one, two) = (b"{\"a\":1}\n{\"a\"".repeat(100_000), b":2}\n".to_vec());
        let want = [one.clone(), two.clone()].concat();
        for frames in [
            vec![zstd(&want)],
            vec![zstd(&one), zstd(&two)],
            vec![skippable(0), zstd(&one), skippable(15), zstd(b""), zstd(&two), skippable(7)],
        ] {
            assert!(read(&frames.concat()).unwrap() == want);
        }
        assert_eq!(read(&zstd(b"")).unwrap(), b"");
        let cut = zstd(&one);
        assert!(read(&cut[..cut.len() - 3]).unwrap_err().contains("ends in the middle"));
        let error = read(&[zstd(&two), b"garbage".to_vec()].concat()).unwrap_err();
        assert!(error.contains("damaged"), "{error}");
    }

    #[test]
    fn every_other_form_is_refused_by_name() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (start, name) in [
            (&b"BZh91AY&SY"[..], "this is bzip2"),
            (b"BZh9\x17\x72\x45\x38\x50\x90", "this is bzip2"),
            (b"\xfd7zXZ\0\0", "this is xz"),
            (b"PK\x03\x04\x14", "this is zip"),
            (b"7z\xbc\xaf\x27\x1c\0", "this is 7z"),
            (b"\x04\x22\x4d\x18\x64", "this is lz4"),
            (b"\xff\x06\0\0sNaPpY\x01", "this is framed snappy"),
            (b"\x1f\x9d\x90", "this is compress"),
            (b"LZIP\x01", "this is lzip"),
            (b"\x78\x9c\x01", "this is zlib"),
            (b"PAR1\x15", "this is Parquet"),
            (b"\xff\xfe{\0", "this is UTF-16"),
            (&tar, "this is a tar archive"),
            (&zstd(&tar), "this is a tar archive"),
        ] {
            let error = read(start).unwrap_err();
            assert!(error.contains(name) && error.contains("gzip or zstd: "), "{error}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_read() {
        for text in [&b"BZhello\n"[..], b"PKI\n", b"x\n", b"", b"\x1f\x8b", b"{}", b"P*M\n"] {
            assert_eq!(read(text).unwrap(), text);
        }
    }
}
