//! Folders of images: the MVTec AD layout, or one plain folder for training.
//!
//! ```text
//! DATA/train/good/*.png            good parts to learn from   (`ok` is taken for `good`)
//! DATA/test/good/*.png             good parts to test with
//! DATA/test/<defect>/*.png         defective parts
//! DATA/ground_truth/<defect>/<stem>.png or <stem>_mask.png     where the defect is: any non-zero sample
//! ```
//!
//! Files are taken in natural order (`9.png` before `10.png`), so that results do not depend on the file system.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use crate::decode;
use crate::failure::{Context, Failure, Outcome};

/// Folder names that mean "no defect".
const GOOD: [&str; 2] = ["good", "ok"];

/// One test image with what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestImage {
    /// The image file.
    pub path: PathBuf,
    /// Name of its folder.
    pub class: String,
    /// False in `good`.
    pub defective: bool,
    /// Where the defect is, when the data set says so.
    pub mask: Option<PathBuf>,
}

/// Files in natural order, and what a person should know about what was left out.
#[derive(Debug)]
pub struct Listing<T> {
    /// The files.
    pub items: Vec<T>,
    /// One sentence for each oddity.
    pub notes: Vec<String>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), notes: Vec::new() }
    }
}

/// The good images to train from: `DATA/train/good`, or the images in `DATA` itself.
pub fn training(data: &Path) -> Outcome<Listing<PathBuf>> {
    let train = data.join("train");
    if !data.is_dir() {
        return Err(Failure::new(format!("{}: no such folder", data.display())));
    }
    let folder = if train.is_dir() { good_folder(&train)? } else { data.to_path_buf() };
    let listing = images_in(&folder)?;
    if listing.items.is_empty() {
        let hint = if train.is_dir() { "" } else { " and no train/good folder" };
        return Err(Failure::new(format!("{}: no images ({}){hint}", folder.display(), decode::EXTENSIONS.join(", "))));
    }
    Ok(listing)
}

/// The test images of a data set in the MVTec AD layout, `good` first, then the defects by name.
pub fn test(data: &Path) -> Outcome<Listing<TestImage>> {
    let folder = data.join("test");
    if !folder.is_dir() {
        let why = if data.is_dir() {
            "no test folder in it (expected test/good and test/<defect>)"
        } else {
            "no such folder"
        };
        return Err(Failure::new(format!("{}: {why}", data.display())));
    }
    let mut classes = folders_in(&folder)?;
    classes.sort_by(|a, b| is_good(b).cmp(&is_good(a)).then_with(|| natural(a, b)));
    let mut listing = Listing::default();
    for class in &classes {
        let found = images_in(&folder.join(class))?;
        listing.notes.extend(found.notes);
        if found.items.is_empty() {
            listing.notes.push(format!("{}: no images, ignored", folder.join(class).display()));
        }
        let masks = data.join("ground_truth").join(class);
        let defective = !is_good(class);
        let mut without = 0;
        for path in found.items {
            let mask = if defective { find_mask(&masks, &path) } else { None };
            without += usize::from(defective && mask.is_none());
            listing.items.push(TestImage { path, class: class.clone(), defective, mask });
        }
        if without > 0 {
            listing.notes.push(format!(
                "{without} images of {class} have no mask in {}: left out of the pixel figures",
                masks.display()
            ));
        }
    }
    if listing.items.is_empty() {
        return Err(Failure::new(format!("{}: no images in its folders", folder.display())));
    }
    if !listing.items.iter().any(|i| i.defective) {
        listing.notes.push("no defective test images: only false rejects can be measured".into());
    }
    if listing.items.iter().all(|i| i.defective) {
        listing.notes.push("no good test images: only missed defects can be measured".into());
    }
    Ok(listing)
}

/// Image files among `paths`; folders stand for the images in them.
pub fn expand(paths: &[PathBuf]) -> Outcome<Listing<PathBuf>> {
    let mut listing = Listing::default();
    for path in paths {
        if path.is_dir() {
            let found = images_in(path)?;
            if found.items.is_empty() {
                return Err(Failure::new(format!("{}: no images in this folder", path.display())));
            }
            listing.items.extend(found.items);
            listing.notes.extend(found.notes);
        } else {
            listing.items.push(path.clone());
        }
    }
    Ok(listing)
}

/// The images of a folder, or those that a text file names, one path a line, relative to the file; lines that begin with `#`
/// are passed over.
pub fn listed(path: &Path) -> Outcome<Listing<PathBuf>> {
    if path.is_dir() {
        return expand(&[path.to_path_buf()]);
    }
    let text = fs::read_to_string(path).context(path.display())?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let items: Vec<PathBuf> = lines.map(|line| folder.join(line)).collect();
    match items.iter().find(|item| !item.is_file()) {
        Some(missing) => Err(Failure::new(format!("{}: no such file, named in {}", missing.display(), path.display()))),
        None if items.is_empty() => Err(Failure::new(format!("{}: lists no images", path.display()))),
        None => Ok(Listing { items, notes: Vec::new() }),
    }
}

fn is_good(class: &str) -> bool {
    GOOD.contains(&class)
}

fn good_folder(train: &Path) -> Outcome<PathBuf> {
    GOOD.iter().map(|name| train.join(name)).find(|folder| folder.is_dir()).ok_or_else(|| {
        Failure::new(format!("{}: no folder `good`; training needs images of good parts", train.display()))
    })
}

fn find_mask(folder: &Path, image: &Path) -> Option<PathBuf> {
    let stem = image.file_stem()?.to_str()?;
    ["png", "bmp", "tif", "tiff"]
        .iter()
        .flat_map(|ext| [folder.join(format!("{stem}.{ext}")), folder.join(format!("{stem}_mask.{ext}"))])
        .find(|path| path.is_file())
}

/// Image files directly in a folder. Other files are counted in a note, hidden ones are passed over.
fn images_in(folder: &Path) -> Outcome<Listing<PathBuf>> {
    let mut listing = Listing::default();
    let mut others = Vec::new();
    for entry in fs::read_dir(folder).context(folder.display())? {
        let path = entry.context(folder.display())?.path();
        if !path.is_file() || name_of(&path).starts_with('.') {
            continue;
        }
        if decode::looks_like_image(&path) {
            listing.items.push(path);
        } else {
            others.push(name_of(&path));
        }
    }
    listing.items.sort_by(|a, b| natural(&name_of(a), &name_of(b)));
    others.sort_by(|a, b| natural(a, b));
    match others.as_slice() {
        [] => {}
        [one] => listing.notes.push(format!("{}: {one} is not an image, ignored", folder.display())),
        [first, rest @ ..] => {
            listing.notes.push(format!(
                "{}: {first} and {} more are not images, ignored",
                folder.display(),
                rest.len()
            ));
        }
    }
    Ok(listing)
}

fn folders_in(folder: &Path) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).context(folder.display())? {
        let path = entry.context(folder.display())?.path();
        if path.is_dir() && !name_of(&path).starts_with('.') {
            names.push(name_of(&path));
        }
    }
    Ok(names)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Orders runs of digits by value and everything else by character; equal values by their length (`01` after `1`).
fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let (Some(cx), Some(cy)) = (x.chars().next(), y.chars().next()) else {
            return x.len().cmp(&y.len()).then_with(|| a.cmp(b));
        };
        let order = if cx.is_ascii_digit() && cy.is_ascii_digit() {
            let (nx, ny) = (digits(x), digits(y));
            (x, y) = (&x[nx.len()..], &y[ny.len()..]);
            let (vx, vy) = (nx.trim_start_matches('0'), ny.trim_start_matches('0'));
            vx.len().cmp(&vy.len()).then_with(|| vx.cmp(vy))
        } else {
            (x, y) = (&x[cx.len_utf8()..], &y[cy.len_utf8()..]);
            cx.cmp(&cy)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn digits(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order_is_total_and_reads_numbers() {
        let mut names = ["10.png", "9.png", "009.png", "a2b10", "a2b9", "a", "", "ä1", "01", "1"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "01", "1", "009.png", "9.png", "10.png", "a", "a2b9", "a2b10", "ä1"]);
        for a in names {
            assert_eq!(natural(a, a), Ordering::Equal);
            for b in names {
                assert_eq!(natural(a, b), natural(b, a).reverse());
            }
        }
    }

    #[test]
    fn mvtec_layout_with_both_mask_names() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |p: &str| {
            let path = dir.path().join(p);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        };
        for p in [
            "train/good/10.png",
            "train/good/2.png",
            "train/good/Thumbs.db",
            "train/good/.hidden.png",
            "test/good/0.png",
            "test/crack/0.png",
            "test/crack/1.png",
            "test/crack/2.png",
            "test/blob/0.png",
            "ground_truth/crack/0_mask.png",
            "ground_truth/crack/1.png",
            "ground_truth/blob/0.png",
        ] {
            touch(p);
        }
        let train = training(dir.path()).unwrap();
        let names: Vec<_> = train.items.iter().map(|p| name_of(p)).collect();
        assert_eq!(names, ["2.png", "10.png"]);
        assert!(train.notes[0].contains("Thumbs.db is not an image"), "{:?}", train.notes);
        let test = test(dir.path()).unwrap();
        let classes: Vec<_> = test.items.iter().map(|i| i.class.as_str()).collect();
        assert_eq!(classes, ["good", "blob", "crack", "crack", "crack"]);
        let masks: Vec<_> = test.items.iter().map(|i| i.mask.is_some()).collect();
        assert_eq!(masks, [false, true, true, true, false]);
        assert!(test.notes.iter().any(|n| n.starts_with("1 images of crack have no mask")));
    }
}
