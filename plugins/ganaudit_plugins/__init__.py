"""ganaudit's own generators and descriptors, through the door that everybody's plugins use."""
