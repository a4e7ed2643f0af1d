"""The command line. Only here are timm, torchvision and transformers named, and imported when asked for."""
