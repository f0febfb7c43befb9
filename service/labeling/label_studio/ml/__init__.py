"""Label Studio's ML backend: what the service knows of clips, as predictions that Label Studio asks for."""
