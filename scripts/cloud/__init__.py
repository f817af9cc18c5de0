"""What the commands for AWS share: sessions, stages, sizes, prices and manifests."""
