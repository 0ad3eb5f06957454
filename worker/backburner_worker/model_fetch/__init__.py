"""Makes a model's folder from where the model is kept: `backburner-worker fetch-model`. It loads no model."""
