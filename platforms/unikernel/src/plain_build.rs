//! A build without `cargo xtask` has neither the images' flags nor a loader, so it ends here, with what to do instead.

#[cfg(not(ebbtide_image))]
compile_error!(
    "an Ebbtide image needs more than `cargo build`: build it with `cargo xtask image PATH`, or build and boot it \
     with `cargo xtask run PATH`, from the Ebbtide repository"
);
