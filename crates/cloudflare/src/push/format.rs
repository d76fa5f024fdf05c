//! Recognizes compressed files by their first bytes.
//!
//! Decompresses zstd, leaves gzip to [`super::split`], and refuses all other known formats by name.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::PushError;

/// The number of bytes to read for detection, enough for the `ustar` of a tar header.
const SNIFFED_BYTES: usize = 512;

/// The magic number of zstd frames, and the end of that of skippable frames, which is 0x184D2A50 to
/// 0x184D2A5F in little-endian.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// An unsupported file format: its name, its magic number, and how to extract the records.
struct UnsupportedFormat {
    name: &'static str,
    magic: &'static [u8],
    advice: &'static str,
}

const UNSUPPORTED: [UnsupportedFormat; 18] = [
    UnsupportedFormat { name: "bzip2", magic: b"BZh", advice: "bzcat FILE | logpushd push URL -" },
    UnsupportedFormat {
        name: "xz",
        magic: &[0xfd, b'7', b'z', b'X', b'Z', 0],
        advice: "xzcat FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "lzma",
        magic: &[0x5d, 0, 0],
        advice: "xzcat FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "lzip",
        magic: b"LZIP\x01",
        advice: "lzip -dc FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "zip",
        magic: b"PK\x03\x04",
        advice: "unzip -p FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "an empty zip",
        magic: b"PK\x05\x06",
        advice: "it contains no records",
    },
    UnsupportedFormat {
        name: "7z",
        magic: &[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c],
        advice: "7z x -so FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "rar",
        magic: b"Rar!\x1a\x07",
        advice: "unrar p -inul FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "lz4",
        magic: &[0x04, 0x22, 0x4d, 0x18],
        advice: "lz4cat FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "lz4 in the legacy format",
        magic: &[0x02, 0x21, 0x4c, 0x18],
        advice: "lz4cat FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "framed snappy",
        magic: b"\xff\x06\x00\x00sNaPpY",
        advice: "snzip -dc FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "compress (.Z)",
        magic: &[0x1f, 0x9d],
        advice: "uncompress -c FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "lzop",
        magic: &[0x89, b'L', b'Z', b'O', 0],
        advice: "lzop -dc FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "zlib",
        magic: &[0x78, 0x9c],
        advice: "zlib-flate -uncompress < FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "Parquet",
        magic: b"PAR1\x15",
        advice: "convert it to one JSON object per line",
    },
    UnsupportedFormat {
        name: "Avro",
        magic: b"Obj\x01",
        advice: "avrocat FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "UTF-16 text",
        magic: &[0xff, 0xfe],
        advice: "iconv -f utf-16 -t utf-8 FILE | logpushd push URL -",
    },
    UnsupportedFormat {
        name: "UTF-16 text",
        magic: &[0xfe, 0xff],
        advice: "iconv -f utf-16 -t utf-8 FILE | logpushd push URL -",
    },
];

/// The offset and value of the magic number in a tar header.
const TAR_AT: usize = 257;
const TAR: &[u8] = b"ustar";

/// Returns a reader of the contents of `from`, decompressed if that is zstd.
///
/// # Errors
/// The source cannot be read, or has an unsupported format.
pub(super) fn open<'a>(mut from: impl Read + 'a) -> Result<Box<dyn Read + 'a>, PushError> {
    let start = sniff(&mut from)?;
    refuse(&start)?;
    let is_zstd = start.starts_with(&ZSTD) || is_skippable(&start);
    let whole = Cursor::new(start).chain(from);
    if !is_zstd {
        return Ok(Box::new(whole));
    }
    let mut plain = BufReader::new(ZstdReader(zstd::stream::read::Decoder::new(whole)?));
    // The decompressed data may itself be an archive.
    refuse(plain.fill_buf()?)?;
    Ok(Box::new(plain))
}

/// Refuses a file in a known format other than plain text, gzip and zstd.
///
/// # Errors
/// The error contains the format, and how to extract the records.
pub(super) fn refuse(start: &[u8]) -> Result<(), PushError> {
    let format = UNSUPPORTED.iter().find(|format| start.starts_with(format.magic));
    // A plain text record may also begin with the three letters of bzip2.
    let format = format.filter(|format| format.name != "bzip2" || is_bzip2(start));
    let (name, advice) = match format {
        Some(format) => (format.name, format.advice),
        None if start.get(TAR_AT..).is_some_and(|rest| rest.starts_with(TAR)) => {
            ("a tar archive", "tar -xOf FILE | logpushd push URL -")
        }
        None => return Ok(()),
    };
    Err(PushError::File(format!(
        "{name} is not supported, only plain text, gzip and zstd: {advice}"
    )))
}

/// Reports whether the bytes after `BZh` are a level and the magic number of a block or of the end.
fn is_bzip2(start: &[u8]) -> bool {
    let rest = start.get(3..).unwrap_or_default();
    let magics: [&[u8]; 2] =
        [&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
    matches!(rest.first(), Some(b'1'..=b'9'))
        && magics.iter().any(|magic| rest.get(1..).unwrap_or_default().starts_with(magic))
}

fn is_skippable(start: &[u8]) -> bool {
    matches!(start.first(), Some(0x50..=0x5f))
        && start.get(1..).unwrap_or_default().starts_with(&SKIPPABLE)
}

/// Reads enough bytes to detect the format. Stops early if a slow pipe has delivered a line.
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

/// A zstd reader with errors that describe the damage.
struct ZstdReader<R: Read>(zstd::stream::read::Decoder<'static, BufReader<R>>);

impl<R: Read> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let what = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the zstd data is truncated".to_owned(),
                _ => format!("the zstd data is corrupt: {error}"),
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
        let mut from = open(bytes).map_err(|error| error.to_string())?;
        from.read_to_end(&mut plain).map_err(|error| error.to_string())?;
        Ok(plain)
    }

    fn zstd(plain: &[u8]) -> Vec<u8> {
        zstd::encode_all(plain, 3).unwrap()
    }

    /// A frame that decoders skip.
    fn skippable(number: u8) -> Vec<u8> {
        [&[0x50 + number, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"notes"].concat()
    }

    #[test]
    fn zstd_with_several_and_skippable_frames_is_read() {
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
        let zipped = zstd(&one);
        assert!(read(&zipped[..zipped.len() - 3]).unwrap_err().contains("truncated"));
        let error = read(&[zstd(&two), b"garbage".to_vec()].concat()).unwrap_err();
        assert!(error.contains("corrupt"), "{error}");
    }

    #[test]
    fn unsupported_formats_are_refused_by_name() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (start, name) in [
            (&b"BZh91AY&SY"[..], "bzip2"),
            (b"BZh9\x17\x72\x45\x38\x50\x90", "bzip2"),
            (b"\xfd7zXZ\0\0", "xz"),
            (b"PK\x03\x04\x14", "zip"),
            (b"7z\xbc\xaf\x27\x1c\0", "7z"),
            (b"\x04\x22\x4d\x18\x64", "lz4"),
            (b"\xff\x06\0\0sNaPpY\x01", "framed snappy"),
            (b"\x1f\x9d\x90", "compress"),
            (b"LZIP\x01", "lzip"),
            (b"\x78\x9c\x01", "zlib"),
            (b"PAR1\x15", "Parquet"),
            (b"\xff\xfe{\0", "UTF-16"),
            (&tar, "a tar archive"),
            (&zstd(&tar), "a tar archive"),
        ] {
            let error = read(start).unwrap_err();
            assert!(error.starts_with(name) && error.contains("gzip and zstd: "), "{error}");
        }
    }

    #[test]
    fn text_that_resembles_a_magic_number_is_read() {
        for text in [&b"BZhello\n"[..], b"PKI\n", b"x\n", b"", b"\x1f\x8b", b"{}", b"P*M\n"] {
            assert_eq!(read(text).unwrap(), text);
        }
    }
}
