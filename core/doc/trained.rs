// For examples: 12 grey photographs of a part, 64×64 pixels, and a model trained on them.
{
    let photograph = |n: u32| {
        let pixel = |p: u32| (80 + (p % 64) * (p / 64) / 40 + p * (n + 3) % 11) as u8;
        adflow::Image::grey(64, 64, (0..64 * 64).map(pixel).collect()).expect("64×64 samples")
    };
    let good: Vec<adflow::Image> = (0..12).map(photograph).collect();
    let trained = adflow::Trainer::new().size(64).train(&good).expect("images that differ");
    (good, adflow::model::OwnedModel::from_bytes(&trained.model).expect("a model"))
}
