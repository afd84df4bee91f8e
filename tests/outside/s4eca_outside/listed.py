"""What `s4eca models` and the cards of adapters say of these encoders; imports nothing heavy."""

from s4eca.encoders.catalog import Listed

ENCODERS = (
    Listed("outside:tiny-vit", "vision", "outside-vit", 55_008, "CC0-1.0", "drawn at random"),
    Listed("outside:bytes", "text", "outside-bytes", 36_000, "CC0-1.0", "drawn at random", remark="reads bytes"),
)
