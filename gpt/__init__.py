"""What happens in a real GPT-2: model, AdamH, probe, data, training loop. `gpt.config` works without torch."""
