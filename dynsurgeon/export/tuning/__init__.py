"""Choose forms by measurement on this machine."""
