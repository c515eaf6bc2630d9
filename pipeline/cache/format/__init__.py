"""What a cache consists of: arrays, blocks, identity, manifest. No file of a store is opened here."""
