package loader

var (
	compareBoottime      = []byte{0x83, 0xff, 0x07, 0x77} // cmp $7, %edi; ja
	compareBelowBoottime = []byte{0x83, 0xff, 0x06, 0x77} // cmp $6, %edi; ja
)
