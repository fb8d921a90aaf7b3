//! Images in memory as training reads them: slices and vectors of [`Image`], of [`ImageView`], and of images with names.

use crate::detect::Images;
use crate::image::{Image, ImageView};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

impl<I: Images + ?Sized> Images for &I {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn name(&self, index: usize) -> String {
        (**self).name(index)
    }

    fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
        (**self).with(index, f)
    }
}

/// [`Images`] for slices and vectors of `$item`; `$name` names an item of a given number, `$view` looks at it.
macro_rules! images {
    ($item:ty, $name:expr, $view:expr) => {
        impl Images for [$item] {
            fn len(&self) -> usize {
                <[$item]>::len(self)
            }

            fn name(&self, index: usize) -> String {
                let name: fn(&$item, usize) -> String = $name;
                name(&self[index], index)
            }

            fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
                let view: for<'v> fn(&'v $item) -> ImageView<'v> = $view;
                f(&view(&self[index]));
                Ok(())
            }
        }

        impl Images for Vec<$item> {
            fn len(&self) -> usize {
                Vec::len(self)
            }

            fn name(&self, index: usize) -> String {
                Images::name(self.as_slice(), index)
            }

            fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
                Images::with(self.as_slice(), index, f)
            }
        }
    };
}

images!(Image, |_, index| format!("image {index}"), Image::view);
images!(ImageView<'_>, |_, index| format!("image {index}"), |view| *view);
images!((String, Image), |(name, _), _| name.clone(), |(_, image)| image.view());

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// Name and first sample of each image.
    fn seen<I: Images + ?Sized>(images: &I) -> Vec<(String, Option<f32>)> {
        let first = |index| {
            let mut sample = None;
            images.with(index, &mut |view| sample = view.sample(0, 0, 0)).unwrap();
            (images.name(index), sample)
        };
        (0..images.len()).map(first).collect()
    }

    #[test]
    fn images_views_and_named_images() {
        let owned: Vec<Image> = [3u8, 5].map(|v| Image::grey(1, 1, vec![v]).unwrap()).into();
        let numbered = [("image 0".into(), Some(3.0)), ("image 1".into(), Some(5.0))];
        assert_eq!(seen(&owned), numbered);
        assert_eq!(seen(&owned[..]), numbered);
        assert_eq!(seen::<&dyn Images>(&(&owned as &dyn Images)), numbered);
        let views: Vec<ImageView<'_>> = owned.iter().map(Image::view).collect();
        assert_eq!(seen(&views), numbered);
        let named = vec![("left.png".into(), owned[1].clone())];
        assert_eq!(seen(&named), [("left.png".into(), Some(5.0))]);
        assert!(Images::is_empty(&owned[..0]) && !Images::is_empty(&named));
    }
}
