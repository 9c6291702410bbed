"""A world model that learns to act from pixels: autoencoder, recurrent dynamics and controller."""
