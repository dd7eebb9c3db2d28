"""The model: public facts (spec, presets, feature maps) and plain torch."""
